"""The two alerts that Hoplink promises: when they fire. Prometheus' rules are tested against it."""

from __future__ import annotations

WINDOW_SECONDS = 120
"""The requests of which an error rate is made."""
HIGH_ERROR_RATE = 0.10
"""More than this part of them answered 5xx is too many."""
MIN_REQUESTS = 5
"""Fewer say nothing."""


def is_high_error_rate(requests: int, errors: int) -> bool:
    """Whether `errors` of `requests` in the window are too many."""
    return requests >= MIN_REQUESTS and errors / requests > HIGH_ERROR_RATE
