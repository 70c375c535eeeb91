"""Who writes links, and who publishes what changed of them, for the tests of both ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.coherence import Relay, Writer, relay, writer


@pytest.fixture
def links(database_url: str, redis_url: str) -> Iterator[Writer]:
    """Writes links as the API does."""
    with writer(database_url, redis_url) as made:
        yield made


@pytest.fixture
def worker(database_url: str, redis_url: str) -> Iterator[Relay]:
    """Publishes changes, a step at a time."""
    with relay(database_url, redis_url) as made:
        yield made
