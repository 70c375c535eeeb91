"""Made-up clicks: who follows the links of a benchmark, and from where."""

from __future__ import annotations

import random
from collections.abc import Iterator

from shared.click_stream import MAX_BATCH, Clicks, Names

LINKS = 10_000
USER_AGENTS = 5_000
REFERRERS = 300

_PLATFORMS = (
    ("Windows NT 10.0; Win64; x64", ""),
    ("Macintosh; Intel Mac OS X 10_15_7", ""),
    ("X11; Linux x86_64", ""),
    ("Linux; Android {}; K", " Mobile"),
    ("Linux; Android {}; SM-T{}", ""),
)


def user_agents(count: int, seed: int = 1) -> list[str]:
    """Different ones, of browsers on several devices; one in twenty is a bot's."""
    chance = random.Random(seed)  # noqa: S311  # a load, not a secret
    found: dict[str, None] = {}
    while len(found) < count:
        version = f"{chance.randint(90, 160)}.0.{chance.randint(1_000, 9_999)}.0"
        if chance.random() < 0.05:
            found[f"Mozilla/5.0 (compatible; examplebot/{version}; +https://bot.example)"] = None
            continue
        platform, mobile = chance.choice(_PLATFORMS)
        place = platform.format(chance.randint(9, 16), chance.randint(500, 999))
        found[
            f"Mozilla/5.0 ({place}) AppleWebKit/537.36 (KHTML, like Gecko)"
            f" Chrome/{version}{mobile} Safari/537.36"
        ] = None
    return list(found)


def referrer_hosts(count: int) -> list[str]:
    """The first ones are asked for most often by `clicks`."""
    return [f"www.site-{number}.example" for number in range(count)]


def batches(count: int, seed: int = 1) -> Iterator[Clicks]:
    """On LINKS links, equally likely; a third of them without a referrer, the others by 1/rank.

    In all a minute's worth.
    """
    chance = random.Random(seed)  # noqa: S311  # as above
    agents = [agent.encode() for agent in user_agents(USER_AGENTS)]
    referrers = [b"", *(host.encode() for host in referrer_hosts(REFERRERS))]
    weights = [3.0, *(1 / rank for rank in range(1, REFERRERS + 1))]
    countries = [f"{a}{b}".encode() for a in "ABCDEFGHIJ" for b in "KLMNOP"]
    for first in range(0, count, MAX_BATCH):
        size = min(MAX_BATCH, count - first)
        yield Clicks(
            chance.choices(range(1, LINKS + 1), k=size),
            [60 * (first + number) / count for number in range(size)],
            Names.of(chance.choices(agents, k=size)),
            Names.of(chance.choices(referrers, weights, k=size)),
            Names.of(chance.choices(countries, k=size)),
            [False] * size,
        )
