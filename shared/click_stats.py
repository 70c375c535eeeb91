"""What is kept of clicks: the worker that writes it and the API that shows it agree on this."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest

DIRECT = "direct"
"""In place of a referrer: the visitor's browser named none."""
UNKNOWN = "unknown"
"""In place of a country."""
OTHER = "other"
"""All names that are not among the most frequent ones."""
KEPT_NAMES = 50
"""Referrers of a link and a day that are kept by name once the day is over; countries likewise."""
HOURS_KEPT_DAYS = 400
"""For so long clicks can be told by the hour; then by the day, for ever."""


def most_frequent(clicks: Mapping[str, int], most: int) -> dict[str, int]:
    """The `most` names with the most clicks, in that order, and OTHER for the sum of the rest."""
    named = [(name, count) for name, count in clicks.items() if name != OTHER]
    kept = dict(nsmallest(most, named, key=lambda item: (-item[1], item[0])))
    rest = sum(clicks.values()) - sum(kept.values())
    return kept | {OTHER: rest} if rest else kept
