"""An index for each filter of the lists: its rows by id, from any id on."""

from __future__ import annotations

from typing import Any

CHANGES = """
CREATE INDEX urls_active ON urls (is_active, id);
DROP INDEX urls_inactive;
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(CHANGES)
