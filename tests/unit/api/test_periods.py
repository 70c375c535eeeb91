"""Periods are whole hours or days, and what makes no sense is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import falcon
import falcon.testing
import pytest

from services.api.periods import MAX_INTERVALS, Interval, Period

NOW = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)


def period(query: str) -> Period:
    return Period.asked_for(falcon.Request(falcon.testing.create_environ(query_string=query)), NOW)


def day(month: int, day_of_month: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day_of_month, hour, tzinfo=UTC)


NOON = day(3, 30, 12)


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("", day(3, 2), day(4, 1)),
        ("interval=hour", day(3, 30, 13), day(3, 31, 13)),
        ("from=2026-03-30", day(3, 30), day(4, 1)),
        ("from=2026-03-30&to=2026-03-30", day(3, 30), day(3, 31)),
        ("from=2026-03-30T23:59:59Z&to=2026-03-31T00:00:01Z", day(3, 30), day(4, 1)),
        ("from=2026-03-30T12:00:00Z&to=2026-03-31T00:00:00Z", day(3, 30), day(3, 31)),
        ("from=2026-03-31T01:30:00%2B02:00&to=2026-03-31", day(3, 30), day(4, 1)),
        ("from=2026-03-31T01:30:00+02:00&to=2026-03-31", day(3, 30), day(4, 1)),
        ("interval=hour&from=2026-03-30t12:00:00z&to=2026-03-30T13:00Z", NOON, day(3, 30, 13)),
        ("interval=hour&from=2026-03-30 12:59:59&to=2026-03-30 13:00:01", NOON, day(3, 30, 14)),
        ("to=2026-03-10", day(2, 9), day(3, 11)),
    ],
)
def test_a_period_is_made_of_whole_intervals(query: str, start: datetime, end: datetime) -> None:
    found = period(query)
    assert (found.start, found.end) == (start, end)
    assert found.is_default == (query in ("", "interval=hour"))
    starts = list(found.starts())
    assert (starts[0], starts[-1] + found.interval.length) == (start, end)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("interval=week", "interval"),
        ("interval=day&interval=day", "interval"),
        ("from=yesterday", "from"),
        ("from=2026-13-01", "from"),
        ("from=2026-02-30", "from"),
        ("from=20260301", "from"),
        ("from=1969-12-31", "from"),
        ("to=3000-01-01", "to"),
        ("to=9999-12-31", "to"),
        ("from=2026-03-01&from=2026-03-02", "from"),
        ("from=2026-03-02&to=2026-03-01", "from"),
        ("from=2027-01-01", "from"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("from=2026-01-01&interval=hour", "from"),
        ("from=2024-12-01&to=2024-12-02&interval=hour", "from"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(query: str, field: str) -> None:
    with pytest.raises(falcon.HTTPBadRequest) as refused:
        period(query)
    assert str(refused.value.description).startswith(f"{field}: ")


def test_the_longest_period_is_a_thousand_intervals() -> None:
    found = period("from=2023-07-06&to=2026-03-31")
    assert len(list(found.starts())) == MAX_INTERVALS
    assert Interval.DAY is found.interval
