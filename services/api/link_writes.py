"""The only place that changes a link: row, event and change log in one transaction.

Redis and the caches of redirectors hear of it after the commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from peewee import IntegrityError

from services.api import errors, read_cache
from services.api.change_publisher import ChangePublisher
from services.api.connections import Connections
from services.api.group_commit import GroupCommit
from services.api.pagination import Row
from services.api.prepared import PreparedStatement
from services.api.schemas import LinkChanges, NewLink
from shared import change_log, short_codes

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

_CREATE_TYPES = {
    "user_id": "bigint",
    "short_code": "text",
    "original_url": "text",
    "title": "text",
    "details": "json",
}

_CREATE_MANY = f"""
WITH wanted AS (
    SELECT * FROM unnest(%(user_ids)s, %(short_codes)s, %(original_urls)s, %(titles)s, %(details)s)
        AS wanted (user_id, short_code, original_url, title, details)
), owner AS (
    SELECT id FROM users WHERE id IN (SELECT user_id FROM wanted) FOR KEY SHARE SKIP LOCKED
), link AS (
    INSERT INTO urls (user_id, short_code, original_url, title, created_at, updated_at)
    SELECT user_id, short_code, original_url, title, now(), now() FROM wanted
    WHERE user_id IS NULL OR user_id IN (SELECT id FROM owner)
    ON CONFLICT (short_code) DO NOTHING
    RETURNING {_COLUMNS}
), event AS (
    INSERT INTO events (url_id, user_id, event_type, timestamp, details)
    SELECT link.id, link.user_id, 'created', created_at, wanted.details::json
    FROM link JOIN wanted USING (short_code)
), change AS (
    INSERT INTO change_log (short_code) SELECT short_code FROM link
)
SELECT {_COLUMNS} FROM link
"""  # noqa: S608
"""Creates what can be created at once: nothing in it waits for a lock, and nothing fails."""

_CREATE_MANY_TYPES = {
    "user_ids": "bigint[]",
    "short_codes": "text[]",
    "original_urls": "text[]",
    "titles": "text[]",
    "details": "text[]",
}

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


class NoCodeFree(Exception):
    """Every code that was generated is taken already; other ones will not be."""


class CodeFixed(Exception):
    """The short code of a link can't be changed."""


class LinkWrites:
    """Creates, changes and deactivates links."""

    def __init__(self, connections: Connections, publisher: ChangePublisher) -> None:
        self._connections = connections
        self._publisher = publisher
        self._create_one = PreparedStatement("create_link", _CREATE, _CREATE_TYPES)
        self._create_many = PreparedStatement("create_links", _CREATE_MANY, _CREATE_MANY_TYPES)
        self._together = GroupCommit(self._create_together)

    def create(self, link: NewLink) -> Row:
        """The row; raises CodeTaken, NoCodeFree or UnknownUser."""
        if link.short_code is None:
            row = self._together.do(link)
            if row:
                return row
        return self._create_alone(link)

    def update(self, link_id: int, changes: LinkChanges) -> Row | None:
        """The row as it is now, or None if there is no such link.

        Raises UnknownUser, or CodeFixed where the changes hold another short code.

        A link that has these values already is left alone: no event, the same `updated_at`.
        """
        return self._change(link_id, "updated", changes.model_dump(exclude_unset=True))

    def deactivate(self, link_id: int) -> Row | None:
        """As `update`. To deactivate a link twice is to do it once."""
        return self._change(link_id, "deleted", {"is_active": False})

    def _create_together(self, links: Sequence[NewLink]) -> list[Row]:
        """A row for each of the links, or an empty one for what has to be tried alone."""
        new = {short_codes.generate(): link for link in links}
        parameters = {
            "user_ids": [link.user_id for link in new.values()],
            "short_codes": list(new),
            "original_urls": [link.original_url for link in new.values()],
            "titles": [link.title for link in new.values()],
            "details": [_creation(code, link) for code, link in new.items()],
        }
        with self._connections.lend() as database:
            rows = _rows(self._create_many.execute(database, parameters))
        self._publish_new([row["short_code"] for row in rows])
        created = {id(new[row["short_code"]]): row for row in rows}
        return [created.get(id(link), {}) for link in links]

    def _create_alone(self, link: NewLink) -> Row:
        values = link.model_dump()
        for _ in range(CODES_TRIED):
            code = link.short_code or short_codes.generate()
            parameters = {**values, "short_code": code, "details": _creation(code, link)}
            with self._connections.lend() as database, _unknown_user():
                rows = _rows(self._create_one.execute(database, parameters))
            if rows:
                self._publish_new([code])
                return rows[0]
            if link.short_code is not None:
                raise CodeTaken
        raise NoCodeFree

    def _publish_new(self, codes: Sequence[str]) -> None:
        self._publisher.publish([read_cache.LINKS, read_cache.EVENTS], codes=codes)

    def _change(self, link_id: int, event_type: str, values: Mapping[str, Any]) -> Row | None:
        with self._connections.lend() as database, database.atomic():
            found = _rows(database.execute_sql(_LOCK, (link_id,)))
            if not found:
                return None
            before = found[0]
            changed = {
                name: {"from": before[name], "to": value}
                for name, value in values.items()
                if before[name] != value
            }
            if not changed:
                return before
            if "short_code" in changed:
                raise CodeFixed
            with _unknown_user():
                (after,) = _rows(database.execute_sql(_UPDATE, {**before, **values}))
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


@contextmanager
def _unknown_user() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if errors.constraint(error) == "urls_user_id_fkey":
            raise UnknownUser from None
        raise


def _rows(cursor: Any) -> list[dict[str, Any]]:
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _creation(code: str, link: NewLink) -> str:
    return _json({"short_code": code, "original_url": link.original_url, "title": link.title})


def _json(details: Mapping[str, Any]) -> str:
    return json.dumps(details, ensure_ascii=False, separators=(",", ":"))
