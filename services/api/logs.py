"""/logs: the newest log entries of all services."""

from __future__ import annotations

import falcon

from services.api import parameters
from services.api.errors import bad_request
from services.api.redis_gate import RedisGate, RedisUnavailable
from services.api.resources import Readable
from shared.log_feed import STREAM, LogFeed

DEFAULT = 100
LARGEST = 1_000
SOURCE_HEADER = "X-Log-Source"
"""`all-services`; or `this-process` while Redis, which has the others' entries, does not answer."""

_TIME = len('{"time":"2024-01-01T12:00:00.000Z"')


class Logs(Readable):
    """/logs?limit=: newest first."""

    def __init__(self, feed: LogFeed, redis: RedisGate) -> None:
        self._feed = feed
        self._redis = redis

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        limit = parameters.integer(req, "limit")
        if limit is None:
            limit = DEFAULT
        if not 1 <= limit <= LARGEST:
            raise bad_request("limit", f"must be 1 to {LARGEST}")
        source, entries = self._newest(limit)
        resp.set_header(SOURCE_HEADER, source)
        # They come to Redis a moment later than they are written, those of one process together.
        entries.sort(key=lambda entry: entry[:_TIME], reverse=True)
        resp.data = b"[%s]" % b",".join(entries)

    def _newest(self, limit: int) -> tuple[str, list[bytes]]:
        try:
            found = self._redis.call("XREVRANGE", STREAM, "+", "-", "COUNT", limit)
        except RedisUnavailable:
            return "this-process", self._feed.recent(limit)
        # What is sent again after a time-out may be there twice.
        return "all-services", list(dict.fromkeys(fields[1] for _, fields in found))
