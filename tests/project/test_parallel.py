"""What the suite's parallel runs depend on."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("together")
def test_groups_are_kept_together(request: pytest.FixtureRequest) -> None:
    """Nothing else would tell: the tests pass, but each process starts what one should have."""
    by_group = getattr(request.config.option, "loadgroup", False)

    assert request.node.nodeid.endswith("@together") == by_group
