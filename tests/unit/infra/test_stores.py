"""What the stores refuse before they start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.local.accounts import Account
from infra.local.errors import StackError
from infra.local.stores import Postgres, Store, Valkey


@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_data_that_another_user_made_is_left_alone(
    kind: type[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Account, "can_enter", lambda *_: True)
    (tmp_path / "data").mkdir()
    somebody = Account("somebody", os.geteuid() + 1, os.getegid())

    with pytest.raises(StackError, match=f"belongs to user {os.geteuid()}.*DATA_DIR"):
        kind(tmp_path, 15_000, somebody).prepare()

    assert list(tmp_path.iterdir()) == [tmp_path / "data"]
