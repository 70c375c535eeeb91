"""Clicks one by one, as tests think of them; batches hold them as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from shared.click_stream import Batch, Clicks, Names, decode, encode


class Click(NamedTuple):
    link_id: int
    time: int
    """Unix time in milliseconds."""
    user_agent: bytes = b""
    referrer: bytes = b""
    country: bytes = b""
    is_head: bool = False


def encoded(producer: bytes, first: int, clicks: Sequence[Click]) -> bytes:
    """As the redirector encodes them; its clock shows 0 at the first click."""
    since = clicks[0].time
    links, times, agents, referrers, countries, heads = zip(*clicks, strict=True)
    moments = [(time - since) / 1_000 for time in times]
    names = Names.of(agents), Names.of(referrers), Names.of(countries)
    return encode(producer, first, Clicks(links, moments, *names, heads), since=since)


def batch_of(producer: bytes, first: int, clicks: Sequence[Click]) -> Batch:
    return decode(encoded(producer, first, clicks))


def clicks_of(batch: Batch) -> list[Click]:
    return [
        Click(
            batch.links[number],
            batch.times[number],
            batch.agent_names[batch.agents[number]],
            batch.referrer_names[batch.referrers[number]],
            batch.country_names[batch.countries[number]],
            batch.heads[number],
        )
        for number in range(len(batch))
    ]
