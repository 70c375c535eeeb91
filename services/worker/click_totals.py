"""Adds clicks up: from batches as they travelled to what is stored. Knows no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import compress
from operator import not_
from typing import NamedTuple, Self

import orjson

from services.worker.user_agents import classify
from shared.click_stats import DIRECT, KEPT_NAMES, UNKNOWN, most_frequent
from shared.click_stream import Batch

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
"""In milliseconds."""
MOST_AHEAD = 5 * 60 * SECOND
MOST_BEHIND = 7 * DAY
"""A click from a clock that is further off counts as of now."""
OPEN_NAMES = 500
"""Names of a link and day until the day is over: only then can it be told which ones to keep."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Place = tuple[int, int]
"""A link and a day, in days since 1970."""


class Names(NamedTuple):
    """Clicks of people on one link and day, by name."""

    referrers: dict[str, int]
    devices: dict[str, int]
    countries: dict[str, int]

    @classmethod
    def read(cls, *texts: str) -> Self:
        """From the JSON of each, as `texts` gives it."""
        return cls(*(orjson.loads(text) for text in texts))

    def texts(self) -> list[str]:
        return [orjson.dumps(clicks).decode() for clicks in self]

    @property
    def is_wide(self) -> bool:
        """Whether there are more names than are kept once the day is over."""
        return any(len(clicks) > KEPT_NAMES + 1 for clicks in self)

    def narrowed(self) -> Names:
        """With the names that are kept, and one number for the rest."""
        return Names(*(most_frequent(clicks, KEPT_NAMES) for clicks in self))


class HourTotal(NamedTuple):
    link_id: int
    hour: int
    """In hours since 1970."""
    clicks: int
    bots: int


class DayTotal(NamedTuple):
    link_id: int
    day: int
    clicks: int
    """What the batches add; the names are all names of the day so far."""
    bots: int
    names: Names


class Tally:
    """What batches add up to. People and bots stand apart; names are those of people."""

    def __init__(self) -> None:
        self.people: Counter[tuple[int, int]] = Counter()
        """By link and hour."""
        self.bots: Counter[tuple[int, int]] = Counter()
        self._referrers: Counter[tuple[int, int, str]] = Counter()
        self._devices: Counter[tuple[int, int, str]] = Counter()
        self._countries: Counter[tuple[int, int, str]] = Counter()

    def add(self, batch: Batch, times: Sequence[int]) -> list[bool]:
        """Adds a batch whose clicks happened at `times`; returns which of them are bots'."""
        visitors = [classify(text(name)) for name in batch.agent_names]
        bots = [
            is_head or visitors[agent].is_bot
            for agent, is_head in zip(batch.agents, batch.heads, strict=True)
        ]
        people = list(map(not_, bots))
        hours = list(zip(batch.links, [time // HOUR for time in times], strict=True))
        self.people.update(compress(hours, people))
        self.bots.update(compress(hours, bots))
        days = [time // DAY for time in times]
        for counter, column, names in (
            (self._referrers, batch.referrers, _words(batch.referrer_names, DIRECT)),
            (self._devices, batch.agents, [visitor.device for visitor in visitors]),
            (self._countries, batch.countries, _words(batch.country_names, UNKNOWN)),
        ):
            named = zip(batch.links, days, map(names.__getitem__, column), strict=True)
            counter.update(compress(named, people))
        return bots

    def places(self) -> list[Place]:
        """All links and days that something is added to, in order."""
        return sorted({(link, hour // 24) for link, hour in (*self.people, *self.bots)})

    def hours(self) -> Iterator[HourTotal]:
        for link, hour in sorted({*self.people, *self.bots}):
            yield HourTotal(link, hour, self.people[link, hour], self.bots[link, hour])

    def days(self, known: Mapping[Place, Names]) -> Iterator[DayTotal]:
        """`known` are the names of each place so far; they are added to."""
        people, bots = _by_day(self.people), _by_day(self.bots)
        names = {place: known.get(place) or Names({}, {}, {}) for place in self.places()}
        for kind, counter in enumerate((self._referrers, self._devices, self._countries)):
            for (link, day, name), count in counter.items():
                clicks = names[link, day][kind]
                clicks[name] = clicks.get(name, 0) + count
        for place, found in names.items():
            yield DayTotal(*place, people[place], bots[place], _bounded(found))


def believable(times: Sequence[int], now: int) -> Sequence[int]:
    """`times` with those that lie too far from `now` replaced by it."""
    first, last = now - MOST_BEHIND, now + MOST_AHEAD
    if min(times) >= first and max(times) <= last:
        return times
    return [time if first <= time <= last else now for time in times]


def copy_rows(batch: Batch, times: Sequence[int], bots: Sequence[bool]) -> Iterator[str]:
    """Each click as a line for COPY: link, time, bot, device, country, referrer, user agent."""
    agents = []
    for name in batch.agent_names:
        agent = text(name)
        agents.append((classify(agent).device, copy_text(agent) or r"\N"))
    referrers = _words(batch.referrer_names, r"\N")
    countries = _words(batch.country_names, r"\N")
    seconds = {
        second: (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%d %H:%M:%S")
        for second in {time // SECOND for time in times}
    }
    columns = (batch.links, times, bots, batch.countries, batch.referrers, batch.agents)
    for link, time, is_bot, country, referrer, agent in zip(*columns, strict=True):
        device, user_agent = agents[agent]
        yield (
            f"{link}\t{seconds[time // SECOND]}.{time % SECOND:03d}+00\t{'t' if is_bot else 'f'}"
            f"\t{device}\t{countries[country]}\t{referrers[referrer]}\t{user_agent}\n"
        )


def text(value: bytes) -> str:
    """What came in a header, as PostgreSQL can hold it."""
    return value.decode(errors="replace").replace("\0", "")


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def copy_text(value: str) -> str:
    """`value` as COPY's text format has it."""
    return value.translate(_ESCAPES)


def _words(names: Iterable[bytes], nameless: str) -> list[str]:
    """Hosts and country codes, which were checked when they were taken down."""
    return [name.decode("ascii", "replace") or nameless for name in names]


def _by_day(hours: Mapping[tuple[int, int], int]) -> Counter[Place]:
    days: Counter[Place] = Counter()
    for (link, hour), count in hours.items():
        days[link, hour // 24] += count
    return days


def _bounded(names: Names) -> Names:
    if all(len(clicks) <= OPEN_NAMES for clicks in names):
        return names
    # Half of them go, or else each new name would be the next one to go.
    return Names(*(most_frequent(clicks, OPEN_NAMES // 2) for clicks in names))
