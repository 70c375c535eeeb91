"""Periods that statistics are asked for: whole hours or days, in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Self

import falcon

from services.api import parameters
from services.api.errors import bad_request
from shared.click_stats import HOURS_KEPT_DAYS

MAX_INTERVALS = 1_000
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC)

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.IGNORECASE
)
_FORM = "must be a date like 2024-01-31, or a time like 2024-01-31T12:00:00Z, from 1970 to 2999"


class Interval(Enum):
    """What one number of a series stands for; the value is how many there are by default."""

    HOUR = 24
    DAY = 30

    @property
    def length(self) -> timedelta:
        return timedelta(hours=1) if self is Interval.HOUR else timedelta(days=1)

    def floor(self, moment: datetime) -> datetime:
        """The start of the interval that a moment lies in."""
        return moment - (moment - FIRST) % self.length


@dataclass(frozen=True)
class Period:
    """From `start` to before `end`, both of which begin an interval."""

    interval: Interval
    start: datetime
    end: datetime
    is_default: bool
    """Nobody asked for this one in particular."""

    @classmethod
    def asked_for(cls, req: falcon.Request, now: datetime) -> Self:
        """By `from`, `to` and `interval`. Raises HTTP error 400."""
        interval = _interval(req)
        start, end = _time(req, "from"), _time(req, "to", is_end=True)
        is_default = start is None and end is None
        # The interval under way is part of the period, be it the one of `to` or that of now.
        end = interval.floor((end or now) + interval.length - timedelta(microseconds=1))
        if start is None:
            start = end - interval.value * interval.length
        period = cls(interval, interval.floor(start), end, is_default)
        period._check(now)
        return period

    def starts(self) -> Iterator[datetime]:
        """Of all its intervals."""
        moment = self.start
        while moment < self.end:
            yield moment
            moment += self.interval.length

    def _check(self, now: datetime) -> None:
        if self.start >= self.end:
            raise bad_request("from", "must be before to")
        if self.end - self.start > MAX_INTERVALS * self.interval.length:
            name = self.interval.name.lower()
            raise bad_request("from", f"must be at most {MAX_INTERVALS} {name}s before to")
        if self.interval is Interval.HOUR and self.start < now - timedelta(days=HOURS_KEPT_DAYS):
            raise bad_request(
                "from", f"hours are kept for {HOURS_KEPT_DAYS} days; use interval=day"
            )


def _interval(req: falcon.Request) -> Interval:
    text = parameters.single(req, "interval") or "day"
    if text not in ("hour", "day"):
        raise bad_request("interval", "must be hour or day")
    return Interval[text.upper()]


def _time(req: falcon.Request, name: str, *, is_end: bool = False) -> datetime | None:
    """A date is its first moment or, as an end, that of the next day."""
    text = parameters.single(req, name)
    if text is None:
        return None
    # A plus sign that isn't encoded arrives as a space.
    text = re.sub(r" (?=\d\d:\d\d$)", "+", text) if text.count(":") > 1 else text
    try:
        found = _TIME.fullmatch(text)
        time = datetime.fromisoformat(text.upper()) if found else None
        if found and time:
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
            if is_end and found[2] is None:
                time += timedelta(days=1)
            if FIRST <= time <= LAST:
                return time
    except (ValueError, OverflowError):
        pass
    raise bad_request(name, _FORM)
