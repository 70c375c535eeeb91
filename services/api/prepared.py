"""Statements that run often enough to be planned once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from shared.database import Database


class PreparedStatement:
    """A statement that PostgreSQL parses and plans once a connection instead of at every use.

    For an insert with its rows of history, that is more than half of what it costs.
    """

    def __init__(self, name: str, query: str, types: Mapping[str, str]) -> None:
        """`query` names its parameters as psycopg2 does, `types` are PostgreSQL's for them."""
        places = {parameter: f"${number}" for number, parameter in enumerate(types, start=1)}
        self._prepare = f"PREPARE {name} ({', '.join(types.values())}) AS {query % places}"
        self._execute = f"EXECUTE {name} ({', '.join(f'%({place})s' for place in places)})"
        self._prepared: WeakSet[Any] = WeakSet()

    def execute(self, database: Database, parameters: Mapping[str, Any]) -> Any:
        """A cursor on the result."""
        connection = database.connection()
        if connection not in self._prepared:
            database.execute_sql(self._prepare)
            self._prepared.add(connection)
        return database.execute_sql(self._execute, parameters)
