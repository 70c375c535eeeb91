"""Clicks by the name of a referrer, a device or a country: which are kept, and what the rest is.

The worker keeps them so for each link and day, the API shows the sum of several days likewise.
"""

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


def most_frequent(clicks: Mapping[str, int], most: int) -> dict[str, int]:
    """The `most` names with the most clicks, in that order, and OTHER for the sum of the rest."""
    named = [(name, count) for name, count in clicks.items() if name != OTHER]
    kept = dict(nsmallest(most, named, key=lambda item: (-item[1], item[0])))
    rest = sum(clicks.values()) - sum(kept.values())
    return kept | {OTHER: rest} if rest else kept
