"""/urls/<id>/stats and /users/<id>/stats: clicks, from totals that the worker keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import falcon
import orjson

from services.api import errors
from services.api.connections import Connections
from services.api.periods import Interval, Period
from services.api.resources import Readable
from services.api.schemas import to_json
from shared.click_stats import KEPT_NAMES, most_frequent
from shared.database import Database

Counts = tuple[int, int]
"""Clicks of people, and of bots."""

KINDS = ("referrers", "devices", "countries")

_TOTAL_OF_LINK = """
SELECT coalesce(total.clicks, 0), coalesce(total.bots, 0)
FROM urls LEFT JOIN click_counts AS total ON total.link_id = urls.id WHERE urls.id = %(id)s
"""
_TOTAL_OF_USER = """
SELECT coalesce(sum(total.clicks), 0)::bigint, coalesce(sum(total.bots), 0)::bigint
FROM users LEFT JOIN urls ON urls.user_id = users.id
LEFT JOIN click_counts AS total ON total.link_id = urls.id
WHERE users.id = %(id)s GROUP BY users.id
"""
_DAYS = """
SELECT day, sum(clicks)::bigint, sum(bots)::bigint FROM click_days
WHERE link_id {links} AND day >= %(first)s AND day < %(end)s GROUP BY day
"""
_HOURS = """
SELECT hour, sum(clicks)::bigint, sum(bots)::bigint FROM click_hours
WHERE link_id {links} AND hour >= %(first)s AND hour < %(end)s GROUP BY hour
"""
_NAMES_OF_LINK = """
SELECT referrers::text, devices::text, countries::text FROM click_days
WHERE link_id = %(id)s AND day >= %(first)s AND day <= %(last)s
"""
_NAMES_OF_USER = """
SELECT kind, name, sum(count::bigint)::bigint FROM click_days, LATERAL (
    SELECT 'referrers', * FROM json_each_text(referrers)
    UNION ALL SELECT 'devices', * FROM json_each_text(devices)
    UNION ALL SELECT 'countries', * FROM json_each_text(countries)
) AS named (kind, name, count)
WHERE link_id IN (SELECT id FROM urls WHERE user_id = %(id)s)
    AND day >= %(first)s AND day <= %(last)s
GROUP BY kind, name
"""


@dataclass(frozen=True)
class Subject:
    """Whose clicks are asked for."""

    total: str
    """A query for the counts of all time; no row means that there is no such subject."""
    links: str
    """What holds of their ids."""
    names: Callable[[Database, Mapping[str, object]], Mapping[str, Mapping[str, int]]]
    """Clicks by name, by kind of name, from the day `first` to the day `last`."""


class Statistics:
    """Clicks by time, referrer, device and country. Methods raise HTTP error 404."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def of_link(self, link_id: int, period: Period) -> dict[str, Any]:
        found = self._read(LINK, link_id, period)
        if found is None:
            raise errors.not_found("URL")
        return {"url_id": link_id, **found}

    def of_user(self, user_id: int, period: Period) -> dict[str, Any]:
        """Of all links that the user has now."""
        found = self._read(USER, user_id, period)
        if found is None:
            raise errors.not_found("user")
        return {"user_id": user_id, **found}

    def _read(self, subject: Subject, number: int, period: Period) -> dict[str, Any] | None:
        last = (period.end - period.interval.length).date()
        days = {"id": number, "first": period.start.date(), "last": last}
        with self._connections.lend() as database:
            counts: Counts | None = database.execute_sql(subject.total, {"id": number}).fetchone()
            if counts is None:
                return None
            series = _series(database, subject, number, period)
            names = subject.names(database, days)
        if not period.is_default:
            people, bots = zip(*series.values(), strict=True)
            counts = (sum(people), sum(bots))
        return {
            "clicks": counts[0],
            "bots": counts[1],
            "series": [
                {"start": start, "clicks": clicks, "bots": bots}
                for start, (clicks, bots) in series.items()
            ],
            "referrers": _ranking("referrer", names["referrers"]),
            "devices": _ranking("device", names["devices"]),
            "countries": _ranking("country", names["countries"]),
        }


def _series(
    database: Database, subject: Subject, number: int, period: Period
) -> dict[datetime, Counts]:
    """Of every interval of the period, in order."""
    first: date
    end: date
    if period.interval is Interval.HOUR:
        query, first, end = _HOURS, period.start, period.end
    else:
        query, first, end = _DAYS, period.start.date(), period.end.date()
    rows = database.execute_sql(
        query.format(links=subject.links), {"id": number, "first": first, "end": end}
    )
    found = {_moment(start): (clicks, bots) for start, clicks, bots in rows.fetchall()}
    return {start: found.get(start, (0, 0)) for start in period.starts()}


def _names_of_link(database: Database, days: Mapping[str, object]) -> dict[str, dict[str, int]]:
    # A row a day: five times as fast as PostgreSQL takes the JSON apart.
    names: dict[str, dict[str, int]] = {kind: defaultdict(int) for kind in KINDS}
    for texts in database.execute_sql(_NAMES_OF_LINK, days).fetchall():
        for clicks, text in zip(names.values(), texts, strict=True):
            for name, count in orjson.loads(text).items():
                clicks[name] += count
    return names


def _names_of_user(database: Database, days: Mapping[str, object]) -> dict[str, dict[str, int]]:
    # There may be a hundred thousand rows, too many to fetch.
    names: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
    for kind, name, clicks in database.execute_sql(_NAMES_OF_USER, days).fetchall():
        names[kind][name] = clicks
    return names


LINK = Subject(_TOTAL_OF_LINK, "= %(id)s", _names_of_link)
USER = Subject(_TOTAL_OF_USER, "IN (SELECT id FROM urls WHERE user_id = %(id)s)", _names_of_user)


def _ranking(key: str, clicks: Mapping[str, int]) -> list[dict[str, object]]:
    """The most clicked first; what has no name of its own last."""
    return [
        {key: name, "clicks": count} for name, count in most_frequent(clicks, KEPT_NAMES).items()
    ]


def _moment(value: date | datetime) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return datetime.combine(value, time(), UTC)


def _now() -> datetime:
    return datetime.now(UTC)


class LinkStats(Readable):
    """/urls/<id>/stats"""

    def __init__(self, statistics: Statistics, now: Callable[[], datetime] = _now) -> None:
        self._statistics = statistics
        self._now = now

    def on_get(self, req: falcon.Request, resp: falcon.Response, url_id: int) -> None:
        period = Period.asked_for(req, self._now())
        resp.data = to_json(self._statistics.of_link(url_id, period))


class UserStats(Readable):
    """/users/<id>/stats"""

    def __init__(self, statistics: Statistics, now: Callable[[], datetime] = _now) -> None:
        self._statistics = statistics
        self._now = now

    def on_get(self, req: falcon.Request, resp: falcon.Response, user_id: int) -> None:
        period = Period.asked_for(req, self._now())
        resp.data = to_json(self._statistics.of_user(user_id, period))
