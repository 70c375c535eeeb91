"""Tells Redis what a committed write changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from services.api.read_cache import MOVE, generation_keys, new_generation
from services.api.redis_gate import RedisGate, RedisUnavailable
from shared.link_cache import INVALIDATE, invalidate_arguments

_PUBLISH = MOVE + INVALIDATE

_log = logging.getLogger(__name__)


class ChangePublisher:
    """Voids cached reads and cached links, in one step and one round trip.

    It never fails a write, which is committed already: the worker publishes from the change log
    what Redis did not hear of here, and cached reads live two seconds anyhow.
    """

    def __init__(self, redis: RedisGate) -> None:
        self._redis = redis

    def publish(
        self, subjects: Iterable[str], *, codes: Iterable[str] = (), absent: bool = False
    ) -> None:
        """`subjects` are read_cache's, `codes` the links that changed.

        With `absent`, codes that were unknown may now exist.
        """
        keys = generation_keys(subjects)
        links = invalidate_arguments(codes, absent_generation=new_generation() if absent else "")
        try:
            self._redis.call("EVAL", _PUBLISH, len(keys), *keys, new_generation(), *links)
        except RedisUnavailable:
            _log.info("change left for the worker to publish")
