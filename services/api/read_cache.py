"""Answers to reads, kept in Redis for two seconds, or until something they show changes.

Each answer shows some *subjects*: one user, the list of links, and so on. A subject has a
generation, a key in Redis that every write to it changes. An answer's key holds the generations
of its subjects, so a write makes all older answers unreachable at once. A reader takes the
generations before it reads PostgreSQL: what it then stores under them is out of reach already
if a write came between.

Nothing else has to go right. An answer is dead two seconds after its generations were taken, by
the clock of Redis itself, however late it was stored. So a write that Redis never heard of, a
generation that was lost, evicted or came back with an old data set, is seen after two seconds;
with the second for which a process does without Redis after a failure, that makes three.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry

from services.api.redis_gate import RedisGate, RedisUnavailable
from shared import metrics

LIFE_MS = 2_000
GENERATION_LIFE_MS = 5 * LIFE_MS
"""A generation may be forgotten once every answer from before it is dead."""
MAX_ANSWER_BYTES = 262_144

USERS, LINKS, EVENTS = "users", "links", "events"
"""The lists of each, with whatever filter."""
USER_DELETIONS = "user-deletions"
"""Any link may have lost its owner."""


def user(user_id: int) -> str:
    return f"user:{user_id}"


def link(link_id: int) -> str:
    return f"link:{link_id}"


_GENERATION = "api:generation:"
_ANSWER = "api:answer:1:"

LOOK = f"""
local name = '{_ANSWER}' .. ARGV[1]
for i = 2, #ARGV do
  name = name .. ' ' .. (redis.call('GET', '{_GENERATION}' .. ARGV[i]) or '0')
end
local now = redis.call('TIME')
local dies = now[1] * 1000 + math.floor(now[2] / 1000) + {LIFE_MS}
return {{name, dies, redis.call('GET', name)}}
"""
"""Arguments: the question, its subjects. Replies the answer, if any, and how to store one."""

MOVE = f"""
local generation = table.remove(ARGV, 1)
for _, subject in ipairs(KEYS) do
  redis.call('SET', subject, generation, 'PX', {GENERATION_LIFE_MS})
end
"""
"""Lua that puts the answers about KEYS out of reach, with a generation that was never used."""


def generation_keys(subjects: Iterable[str]) -> list[str]:
    return [_GENERATION + subject for subject in subjects]


def new_generation() -> str:
    return f"{random.getrandbits(64):016x}"


class ReadCache:
    """Asks Redis first, if Redis answers."""

    def __init__(self, redis: RedisGate, registry: CollectorRegistry | None = None) -> None:
        self._redis = redis
        reads = metrics.API_CACHE_READS.counter(registry or CollectorRegistry())
        self._hits, self._misses, self._off = map(reads.labels, ("hit", "miss", "off"))

    def answer(self, question: str, subjects: Iterable[str], read: Callable[[], bytes]) -> bytes:
        """What `read` returns, or returned at most two seconds ago; its exceptions pass.

        `question` is the same only where the subjects are.
        """
        try:
            name, dies, kept = self._redis.call("EVAL", LOOK, 0, question, *subjects)
        except RedisUnavailable:
            self._off.inc()
            return read()
        if kept is not None:
            self._hits.inc()
            return bytes(kept)
        self._misses.inc()
        answer = read()
        if len(answer) <= MAX_ANSWER_BYTES:
            self._keep(name, dies, answer)
        return answer

    def _keep(self, name: bytes, dies: int, answer: bytes) -> None:
        try:
            self._redis.call("SET", name, answer, "PXAT", dies)
        except RedisUnavailable:
            return
