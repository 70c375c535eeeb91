"""Copies of the servers for an account that can't enter where they are installed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from infra.local import wheels
from infra.local.accounts import Account
from infra.local.errors import StackError

ME = Account("me", os.geteuid(), os.getegid())


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package whose programs find their libraries beside it."""
    monkeypatch.setattr(Account, "can_enter", lambda _self, folder: folder.is_dir())
    (tmp_path / "site" / "server" / "bin").mkdir(parents=True)
    (tmp_path / "site" / "server" / "bin" / "run").write_text("x")
    (tmp_path / "site" / "server" / "include").mkdir()
    (tmp_path / "site" / "server.libs").mkdir()
    (tmp_path / "site" / "server.libs" / "lib.so").write_text("y")
    return tmp_path / "site" / "server"


def test_a_copy_has_the_libraries_where_the_programs_look(package: Path, tmp_path: Path) -> None:
    staged = wheels._stage(package, tmp_path / "staged", ME)

    assert (staged / "server" / "bin" / "run").read_text() == "x"
    assert (staged / "server.libs" / "lib.so").read_text() == "y"
    assert not (staged / "server" / "include").exists()
    assert staged.stat().st_mode & 0o777 == 0o755


def test_two_at_once_end_up_with_one_complete_copy(package: Path, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(wheels._stage(package, tmp_path / "staged", ME))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [tmp_path / "staged"] * 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site", "staged"]


def test_a_folder_that_others_may_write_to_is_not_trusted(package: Path, tmp_path: Path) -> None:
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged").chmod(0o777)

    with pytest.raises(StackError, match="belongs to somebody else"):
        wheels._stage(package, tmp_path / "staged", ME)


def test_a_link_is_not_trusted(package: Path, tmp_path: Path) -> None:
    (tmp_path / "staged").symlink_to(package.parent)

    with pytest.raises(StackError, match="belongs to somebody else"):
        wheels._stage(package, tmp_path / "staged", ME)
