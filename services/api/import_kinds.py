"""What the three kinds of import have of their own: columns, rules and SQL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from services.api import read_cache, strict_json
from services.api.own_address import OwnAddress
from services.api.schemas import MAX_IMPORTED_ID, NewEvent, NewLink, NewUser
from shared import short_codes

Record = Mapping[str, str]

_TIME = re.compile(r"\d{4}-\d\d-\d\d[ Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclass(frozen=True)
class ImportKind:
    """How the rows of a file become rows of a table.

    All statements work on the temporary table `staged`, whose first columns are `row`, the number
    in the file, `id` and `has_id`: whether the file gave it. Of the `staged` columns, those that
    are the table's own have the same names.
    """

    table: str
    required: tuple[str, ...]
    columns: Mapping[str, str]
    """The columns of `staged` after the first three, with their types."""
    inserted: tuple[str, ...]
    """Those that go into the table, beside the id."""
    values: Callable[[Record], Sequence[object]]
    """Values of `columns` for a row of the file; raises ValueError."""
    orphans: Sequence[str]
    """Delete staged rows that refer to what isn't there, returning `row` and what is wrong."""
    conflicts: str
    """Selects `row` and what is wrong with it for staged rows that neither were inserted nor are
    what the table holds already."""
    subject: str
    makes_links: bool = False
    """Links are redirected to at once, and their codes may be generated."""


_ORPHANS = """
DELETE FROM staged WHERE {column} IS NOT NULL
    AND NOT EXISTS (SELECT FROM {table} WHERE id = staged.{column})
RETURNING row, '{column}: no such {what}'
"""
_NO_SUCH_LINK = _ORPHANS.format(column="url_id", table="urls", what="URL")
_NO_SUCH_USER = _ORPHANS.format(column="user_id", table="users", what="user")


def users() -> ImportKind:
    return ImportKind(
        table="users",
        required=("username", "email"),
        columns={"username": "text", "email": "text", "created_at": "timestamptz"},
        inserted=("username", "email", "created_at"),
        values=_user_values,
        orphans=(),
        conflicts="""
SELECT staged.row, CASE
    WHEN EXISTS (SELECT FROM users WHERE id = staged.id) THEN 'id: belongs to another user'
    WHEN EXISTS (SELECT FROM users WHERE lower(username) = lower(staged.username))
        THEN 'username: is taken'
    ELSE 'email: is taken' END
FROM staged
WHERE NOT EXISTS (
    SELECT FROM users WHERE id = staged.id AND lower(username) = lower(staged.username)
) AND (has_id OR NOT EXISTS (
    SELECT FROM users WHERE lower(username) = lower(staged.username)
        AND lower(email) = lower(staged.email)
))
""",
        subject=read_cache.USERS,
    )


def links(own: OwnAddress) -> ImportKind:
    return ImportKind(
        table="urls",
        required=("original_url",),
        columns={
            "has_code": "boolean",
            "user_id": "bigint",
            "short_code": 'text COLLATE "C"',
            "original_url": "text",
            "title": "text",
            "is_active": "boolean",
            "created_at": "timestamptz",
            "updated_at": "timestamptz",
        },
        inserted=(
            "user_id",
            "short_code",
            "original_url",
            "title",
            "is_active",
            "created_at",
            "updated_at",
        ),
        values=partial(_link_values, own),
        orphans=(_NO_SUCH_USER,),
        conflicts="""
SELECT staged.row, CASE
    WHEN EXISTS (SELECT FROM urls WHERE id = staged.id) THEN 'id: belongs to another URL'
    ELSE 'short_code: is taken' END
FROM staged
WHERE NOT EXISTS (
    SELECT FROM urls WHERE id = staged.id AND (
        short_code = staged.short_code
        OR NOT has_code AND original_url = staged.original_url)
) AND (has_id OR NOT has_code OR NOT EXISTS (
    SELECT FROM urls WHERE short_code = staged.short_code AND original_url = staged.original_url
))
""",
        subject=read_cache.LINKS,
        makes_links=True,
    )


def events() -> ImportKind:
    return ImportKind(
        table="events",
        required=("url_id", "event_type"),
        columns={
            "url_id": "bigint",
            "user_id": "bigint",
            "event_type": "text",
            "timestamp": "timestamptz",
            "details": "json",
        },
        inserted=("url_id", "user_id", "event_type", "timestamp", "details"),
        values=_event_values,
        orphans=(_NO_SUCH_LINK, _NO_SUCH_USER),
        conflicts="""
SELECT staged.row, 'id: belongs to another event'
FROM staged
WHERE NOT EXISTS (
    SELECT FROM events WHERE id = staged.id AND url_id = staged.url_id
        AND event_type = staged.event_type
)
""",
        subject=read_cache.EVENTS,
    )


def id_of(record: Record) -> int | None:
    """The id that a row of a file gives itself; raises ValueError."""
    number = _integer(record, "id")
    if number is not None and not 1 <= number <= MAX_IMPORTED_ID:
        raise ValueError(f"id: must be 1 to {MAX_IMPORTED_ID}")
    return number


def _user_values(record: Record) -> Sequence[object]:
    user = NewUser.model_validate({"username": record["username"], "email": record["email"]})
    return user.username, user.email, _time(record, "created_at") or datetime.now(UTC)


def _link_values(own: OwnAddress, record: Record) -> Sequence[object]:
    code = record.get("short_code") or None
    link = NewLink.model_validate(
        {
            "original_url": record["original_url"],
            "title": record.get("title") or None,
            "user_id": _integer(record, "user_id"),
            "short_code": code,
        },
        context=own,
    )
    created_at = _time(record, "created_at") or datetime.now(UTC)
    return (
        code is not None,
        link.user_id,
        code or short_codes.generate(),
        link.original_url,
        link.title,
        _boolean(record, "is_active", default=True),
        created_at,
        _time(record, "updated_at") or created_at,
    )


def _event_values(record: Record) -> Sequence[object]:
    event = NewEvent.model_validate(
        {
            "url_id": _integer(record, "url_id"),
            "user_id": _integer(record, "user_id"),
            "event_type": record["event_type"],
        }
    )
    return (
        event.url_id,
        event.user_id,
        event.event_type,
        _time(record, "timestamp") or datetime.now(UTC),
        _details(record.get("details", "")),
    )


def _integer(record: Record, name: str) -> int | None:
    text = record.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ValueError(f"{name}: must be an integer")
    return int(text)


def _boolean(record: Record, name: str, *, default: bool) -> bool:
    text = record.get(name)
    if not text:
        return default
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ValueError(f"{name}: must be true or false")
    return value


def _time(record: Record, name: str) -> datetime | None:
    """Without a zone it is UTC."""
    text = record.get(name)
    if not text:
        return None
    if _TIME.fullmatch(text):
        with suppress(ValueError, OverflowError):
            time = datetime.fromisoformat(text.upper())
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    raise ValueError(f"{name}: must be a time like 2024-01-01 12:00:00, or as in RFC 3339")


def _details(text: str) -> str | None:
    """JSON: what `text` is, if it looks like an object or a string, or else `text` as a string."""
    if text in ("", "null"):
        return None
    if not text.startswith(("{", '"')):
        return json.dumps(text, ensure_ascii=False)
    try:
        strict_json.check(strict_json.parse(text))
    except ValueError as error:
        raise ValueError(f"details: {error}") from None
    return text
