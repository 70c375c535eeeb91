"""Adds clicks up: from batches as they travelled to what is stored. Knows no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import compress, repeat
from operator import itemgetter, not_, or_
from typing import NamedTuple, Self

import orjson

from services.worker.user_agents import REMEMBERED, classify
from shared.click_stats import DIRECT, KEPT_NAMES, UNKNOWN, most_frequent
from shared.click_stream import Batch

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
"""In milliseconds."""
MOST_AHEAD = 5 * 60 * SECOND
MOST_BEHIND = 7 * DAY
"""A click from a clock that is further off counts as of now."""
OPEN_NAMES = 500
"""Names of a link and day until the day is over: only then can it be told which ones to keep."""

NULL = r"\N"
"""As COPY's text format has it."""
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
    """What is to be added; the names are all names of the day so far."""
    bots: int
    names: Names


class Agent(NamedTuple):
    """What is to be known of a user agent."""

    device: str
    is_bot: bool
    line: str
    """The end of a line for COPY, from `is_bot` on."""
    head_line: str
    """The same for a HEAD request, which only programs send."""


class Resolved:
    """A batch, its indexes resolved, its times believable, people told from bots."""

    def __init__(self, batch: Batch, now: int) -> None:
        agents = list(map(_agent, batch.agent_names))
        self.links = batch.links
        self.times = _believable(batch.times, now)
        self.agents = list(map(agents.__getitem__, batch.agents))
        self.referrers = _resolve(batch.referrer_names, batch.referrers, DIRECT)
        self.countries = _resolve(batch.country_names, batch.countries, UNKNOWN)
        self.bots = [agent.is_bot for agent in self.agents]
        if True in batch.heads:
            self.bots = list(map(or_, self.bots, batch.heads))
        self._batch = batch

    def of_people(self) -> Iterator[tuple[int, int, str, Agent, str]]:
        """Link, day, referrer, agent and country of each person's click."""
        clicks = zip(  # noqa: B905  # days may be endless
            self.links, _each(DAY, self.times), self.referrers, self.agents, self.countries
        )
        return compress(clicks, map(not_, self.bots))

    def lines(self) -> Iterator[str]:
        """Each click as a line for COPY.

        The order is: link, time, country, referrer, bot, device, user agent.
        """
        batch = self._batch
        seconds = {
            second: f"{EPOCH + timedelta(seconds=second):%Y-%m-%d %H:%M:%S}"
            for second in {time // SECOND for time in self.times}
        }
        moments = [seconds[time // SECOND] + _MILLISECONDS[time % SECOND] for time in self.times]
        ends = [
            agent.head_line if is_head else agent.line
            for agent, is_head in zip(self.agents, batch.heads, strict=True)
        ]
        countries = _resolve(batch.country_names, batch.countries, NULL)
        referrers = _resolve(batch.referrer_names, batch.referrers, NULL)
        columns = zip(map(str, self.links), moments, countries, referrers, ends, strict=True)
        return map("\t".join, columns)


class Tally:
    """What batches add up to. People and bots stand apart; names are those of people."""

    def __init__(self, batches: Sequence[Resolved]) -> None:
        self.people: Counter[tuple[int, int]] = Counter()
        """By link and hour."""
        self.bots: Counter[tuple[int, int]] = Counter()
        self._batches = batches
        for batch in batches:
            hours = list(zip(batch.links, _each(HOUR, batch.times)))  # noqa: B905  # may be endless
            self.people.update(compress(hours, map(not_, batch.bots)))
            self.bots.update(compress(hours, batch.bots))

    def places(self) -> list[Place]:
        """All links and days that something is added to, in order."""
        return sorted({(link, hour // 24) for link, hour in (*self.people, *self.bots)})

    def hours(self) -> Iterator[HourTotal]:
        for link, hour in sorted({*self.people, *self.bots}):
            yield HourTotal(link, hour, self.people[link, hour], self.bots[link, hour])

    def days(self, known: Mapping[Place, Names]) -> Iterator[DayTotal]:
        """`known` are the names of each place so far; they are added to."""
        names = {place: known.get(place) or Names({}, {}, {}) for place in self.places()}
        self._add_names(names)
        people, bots = _by_day(self.people), _by_day(self.bots)
        for place, found in names.items():
            yield DayTotal(*place, people[place], bots[place], _bounded(found))

    def _add_names(self, names: Mapping[Place, Names]) -> None:
        clicks = [click for batch in self._batches for click in batch.of_people()]
        # All clicks of a link on end: that is twice as fast, for the sake of the processor's cache.
        clicks.sort(key=itemgetter(0))
        place = None
        for link, day, referrer, agent, country in clicks:
            if place != (link, day):
                place = (link, day)
                referrers, devices, countries = names[place]
            device = agent.device
            referrers[referrer] = referrers.get(referrer, 0) + 1
            devices[device] = devices.get(device, 0) + 1
            countries[country] = countries.get(country, 0) + 1


def _believable(times: Sequence[int], now: int) -> Sequence[int]:
    """`times` with those that lie too far from `now` replaced by it."""
    first, last = now - MOST_BEHIND, now + MOST_AHEAD
    if min(times) >= first and max(times) <= last:
        return times
    return [time if first <= time <= last else now for time in times]


def _each(unit: int, times: Sequence[int]) -> Iterable[int]:
    """The hour, or day, of each time; the same one without end if it is the same for all."""
    first = min(times) // unit
    if max(times) // unit == first:
        return repeat(first)
    return [time // unit for time in times]


@lru_cache(REMEMBERED)
def _agent(name: bytes) -> Agent:
    text = name.decode(errors="replace").replace("\0", "")
    visitor = classify(text)
    end = f"{visitor.device}\t{copy_text(text) or NULL}\n"
    return Agent(*visitor, f"{'t' if visitor.is_bot else 'f'}\t{end}", f"t\t{end}")


def _resolve(names: Iterable[bytes], column: Iterable[int], nameless: str) -> list[str]:
    """Hosts and country codes, which were checked when they were taken down."""
    words = [name.decode("ascii", "replace") or nameless for name in names]
    return list(map(words.__getitem__, column))


_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
_MILLISECONDS = [f".{number:03d}+00" for number in range(SECOND)]


def copy_text(value: str) -> str:
    """`value` as COPY's text format has it."""
    return value.translate(_ESCAPES)


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
