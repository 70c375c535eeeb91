"""The only place that changes a link: row, event and change log in one transaction.

Redis and the caches of redirectors hear of it after the commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from peewee import IntegrityError

from services.api import errors, read_cache
from services.api.change_publisher import ChangePublisher
from services.api.connections import Connections
from services.api.pagination import Row
from services.api.schemas import LinkChanges, NewLink
from shared import change_log, short_codes
from shared.database import Database

CODES_TRIED = 5
"""With a billion links, one generated code in 3,500 is taken already."""

# Names of columns, put together once and never from a request: S608 does not apply.
_COLUMNS = "id, user_id, short_code, original_url, title, is_active, created_at, updated_at"

_CREATE = f"""
WITH link AS (
    INSERT INTO urls (user_id, short_code, original_url, title, created_at, updated_at)
    VALUES (%(user_id)s, %(short_code)s, %(original_url)s, %(title)s, now(), now())
    ON CONFLICT (short_code) DO NOTHING
    RETURNING {_COLUMNS}
), event AS (
    INSERT INTO events (url_id, user_id, event_type, timestamp, details)
    SELECT id, user_id, 'created', created_at, %(details)s FROM link
), change AS (
    INSERT INTO change_log (short_code) SELECT short_code FROM link
)
SELECT {_COLUMNS} FROM link
"""  # noqa: S608
"""One statement is one transaction, and one round trip."""

_LOCK = f"SELECT {_COLUMNS} FROM urls WHERE id = %s FOR NO KEY UPDATE"  # noqa: S608

_UPDATE = f"""
UPDATE urls SET user_id = %(user_id)s, original_url = %(original_url)s, title = %(title)s,
    is_active = %(is_active)s, updated_at = clock_timestamp()
WHERE id = %(id)s
RETURNING {_COLUMNS}
"""  # noqa: S608

_ADD_EVENT = """
INSERT INTO events (url_id, user_id, event_type, timestamp, details)
VALUES (%(id)s, %(user_id)s, %(event_type)s, %(updated_at)s, %(details)s)
"""


class CodeTaken(Exception):
    """Another link has the short code."""


class UnknownUser(Exception):
    """The user that a link should belong to is not there."""


class LinkWrites:
    """Creates, changes and deactivates links."""

    def __init__(self, connections: Connections, publisher: ChangePublisher) -> None:
        self._connections = connections
        self._publisher = publisher

    def create(self, link: NewLink) -> Row:
        """The row; raises CodeTaken or UnknownUser."""
        row = self._create(link)
        self._publisher.publish([read_cache.LINKS, read_cache.EVENTS], codes=[row["short_code"]])
        return row

    def update(self, link_id: int, changes: LinkChanges) -> Row | None:
        """The row as it is now, or None if there is no such link; raises UnknownUser.

        A link that has these values already is left alone: no event, the same `updated_at`.
        """
        return self._change(link_id, "updated", changes.model_dump(exclude_unset=True))

    def deactivate(self, link_id: int) -> Row | None:
        """As `update`. To deactivate a link twice is to do it once."""
        return self._change(link_id, "deleted", {"is_active": False})

    def _create(self, link: NewLink) -> Row:
        values = link.model_dump()
        for _ in range(CODES_TRIED):
            code = link.short_code or short_codes.generate()
            details = {"short_code": code, "original_url": link.original_url, "title": link.title}
            with self._connections.lend() as database:
                row = _fetch(
                    database, _CREATE, {**values, "short_code": code, "details": _json(details)}
                )
            if row is not None:
                return row
            if link.short_code is not None:
                break
        raise CodeTaken

    def _change(self, link_id: int, event_type: str, values: Mapping[str, Any]) -> Row | None:
        with self._connections.lend() as database, database.atomic():
            before = _fetch(database, _LOCK, (link_id,))
            if before is None:
                return None
            changed = {
                name: {"from": before[name], "to": value}
                for name, value in values.items()
                if before[name] != value
            }
            if not changed:
                return before
            after = _fetch(database, _UPDATE, {**before, **values})
            assert after is not None  # it is locked
            database.execute_sql(
                _ADD_EVENT,
                {**after, "event_type": event_type, "details": _json({"changes": changed})},
            )
            database.execute_sql(change_log.ADD, (after["short_code"],))
        self._publisher.publish(
            [read_cache.LINKS, read_cache.EVENTS, read_cache.link(link_id)],
            codes=[after["short_code"]],
        )
        return after


def _fetch(database: Database, query: str, parameters: Any) -> dict[str, Any] | None:
    try:
        cursor = database.execute_sql(query, parameters)
    except IntegrityError as error:
        if errors.constraint(error) == "urls_user_id_fkey":
            raise UnknownUser from None
        raise
    row = cursor.fetchone()
    if row is None:
        return None
    return dict(zip((column.name for column in cursor.description), row, strict=True))


def _json(details: Mapping[str, Any]) -> str:
    return json.dumps(details, ensure_ascii=False, separators=(",", ":"))
