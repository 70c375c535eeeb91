"""What recording writes to the tables of clicks, within a transaction of the click store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from io import BytesIO
from itertools import chain
from typing import Any

from services.worker import click_totals
from services.worker.click_totals import EPOCH, Names, Place, Resolved, Tally

WIDE_DAYS_AT_ONCE = 200

TEMPORARY = """
CREATE TEMPORARY TABLE new_hours (link_id bigint, hour timestamptz, clicks bigint, bots bigint)
ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE new_days (
    link_id bigint, day date, clicks bigint, bots bigint,
    referrers json, devices json, countries json, is_wide boolean
) ON COMMIT DELETE ROWS;
"""
"""Tables that each connection needs."""

_KNOWN_NAMES = """
SELECT link_id, day, referrers::text, devices::text, countries::text
FROM unnest(%s::bigint[], %s::date[]) AS wanted (link_id, day)
JOIN click_days USING (link_id, day)
"""

_ADD_HOURS = """
INSERT INTO click_hours AS total (link_id, hour, clicks, bots)
SELECT link_id, hour, clicks, bots FROM new_hours
ON CONFLICT (link_id, hour) DO UPDATE
SET clicks = total.clicks + excluded.clicks, bots = total.bots + excluded.bots
"""

_ADD_DAYS = """
INSERT INTO click_days AS total
    (link_id, day, clicks, bots, referrers, devices, countries, is_wide)
SELECT link_id, day, clicks, bots, referrers, devices, countries, is_wide FROM new_days
ON CONFLICT (link_id, day) DO UPDATE
SET clicks = total.clicks + excluded.clicks, bots = total.bots + excluded.bots,
    referrers = excluded.referrers, devices = excluded.devices, countries = excluded.countries,
    is_wide = excluded.is_wide
"""

_ADD_COUNTS = """
INSERT INTO click_counts AS total (link_id, clicks, bots)
SELECT link_id, sum(clicks), sum(bots) FROM new_hours GROUP BY link_id ORDER BY link_id
ON CONFLICT (link_id) DO UPDATE
SET clicks = total.clicks + excluded.clicks, bots = total.bots + excluded.bots
"""

_COPY_CLICKS = (
    "COPY clicks (link_id, clicked_at, country, referrer, is_bot, device, user_agent) FROM STDIN"
)


def add_clicks(cursor: Any, batches: Iterable[Resolved]) -> None:
    """Stores single clicks; their partitions must be there."""
    lines = chain.from_iterable(batch.lines() for batch in batches)
    cursor.copy_expert(_COPY_CLICKS, _file(lines))


def add_totals(cursor: Any, tally: Tally) -> None:
    """Adds what `tally` says to the totals by hour, by day and of all time."""
    hours = [
        f"{link}\t{EPOCH + timedelta(hours=hour)}\t{clicks}\t{bots}\n"
        for link, hour, clicks, bots in tally.hours()
    ]
    days = []
    for total in tally.days(_known_names(cursor, tally.places())):
        names = "\t".join(map(click_totals.copy_text, total.names.texts()))
        days.append(
            f"{total.link_id}\t{date_of(total.day)}\t{total.clicks}\t{total.bots}"
            f"\t{names}\t{'t' if total.names.is_wide else 'f'}\n"
        )
    cursor.copy_expert("COPY new_hours FROM STDIN", _file(hours))
    cursor.copy_expert("COPY new_days FROM STDIN", _file(days))
    for statement in (_ADD_HOURS, _ADD_DAYS, _ADD_COUNTS):
        cursor.execute(statement)


def narrow_days(cursor: Any, today: date) -> int:
    """Keeps the most frequent names only, of days that are over. Returns how many it narrowed, at
    most WIDE_DAYS_AT_ONCE."""
    cursor.execute(
        "SELECT link_id, day, referrers::text, devices::text, countries::text"
        " FROM click_days WHERE is_wide AND day < %s ORDER BY day LIMIT %s",
        (today, WIDE_DAYS_AT_ONCE),
    )
    rows = cursor.fetchall()
    for link, day, *texts in rows:
        cursor.execute(
            "UPDATE click_days SET referrers = %s, devices = %s, countries = %s, is_wide = %s"
            " WHERE link_id = %s AND day = %s",
            (*Names.read(*texts).narrowed().texts(), False, link, day),
        )
    return len(rows)


def date_of(day: int) -> date:
    """The date of a day that is counted from EPOCH."""
    return EPOCH.date() + timedelta(days=day)


def _known_names(cursor: Any, places: Sequence[Place]) -> dict[Place, Names]:
    links = ",".join(str(link) for link, _ in places)
    days = ",".join(str(date_of(day)) for _, day in places)
    cursor.execute(_KNOWN_NAMES, (f"{{{links}}}", f"{{{days}}}"))
    return {
        (link, (day - EPOCH.date()).days): Names.read(*texts)
        for link, day, *texts in cursor.fetchall()
    }


def _file(lines: Iterable[str]) -> BytesIO:
    return BytesIO("".join(lines).encode())
