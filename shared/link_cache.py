"""How links are cached in Redis: keys, encoding, messages and scripts. It holds no client.

Nobody writes a new value over an old one. A reader that misses takes a *lease*, reads
PostgreSQL, and its fill is accepted only while that lease is still there. A change deletes
value and lease in one step. So no slow reader, however late, brings an old answer back.

Changes are also published. The worker's `ADVANCE` moves the *position*, the snapshot of the change
log of which this very data set has had every change applied, and publishes it as a heartbeat. A
Redis that lost its tail, or lagged behind, is known by an older position: the worker applies the
log from there, and until then a reader that knows of newer changes doesn't believe what it says.
Each position has a word of its own, so that of two workers only one moves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shared.change_log import Changes, Snapshot

CHANNEL = "hoplink:changes"
POSITION = "hoplink:position"
GENERATION = "hoplink:absent-generation"
LEASE_MS = 2_000
"""A reader that took a lease and died keeps others from filling no longer than this."""

_LINK, _LEASE, _ABSENT = "link:1:", "lease:1:", "absent:1:"
"""The number is the version of the encoding: another one never reads these."""
ALL_KEYS = tuple(f"{prefix}*" for prefix in (_LEASE, _LINK, _ABSENT))
"""Patterns of every key that guards or holds an answer. Who deletes them all begins with the
leases: whatever was filled with one before it went is then found among the answers."""

ABSENT = b""
"""The encoded answer "no such link"."""


class Link(NamedTuple):
    """All that a redirect needs to know of an active link."""

    id: int
    location: bytes
    """The value of the Location header."""


def encode(link: Link | None) -> bytes:
    return ABSENT if link is None else b"%d %s" % link


def decode(value: bytes) -> Link | None:
    """The reverse of `encode`; raises ValueError for anything else."""
    if value == ABSENT:
        return None
    link_id, _, location = value.partition(b" ")
    return Link(int(link_id), location)


_FORGET = f"""
local function forget(absent_generation, first)
  local generation = redis.call('GET', '{GENERATION}') or ''
  for i = first, #ARGV do
    local code = ARGV[i]
    redis.call('DEL', '{_LINK}' .. code, '{_LEASE}' .. code,
      '{_ABSENT}' .. generation .. ':' .. code)
  end
  if #ARGV >= first then
    redis.call('PUBLISH', '{CHANNEL}', 'codes ' .. table.concat(ARGV, ' ', first))
  end
  if absent_generation ~= '' then
    redis.call('SET', '{GENERATION}', absent_generation)
    redis.call('PUBLISH', '{CHANNEL}', 'absent')
  end
end
"""

GET_OR_LEASE = f"""
local token, lease_ms = ARGV[1], ARGV[2]
local generation = redis.call('GET', '{GENERATION}')
if not generation then
  -- One that was evicted or lost must not be followed by one that was there before.
  generation = token
  redis.call('SET', '{GENERATION}', generation)
end
local reply = {{generation, redis.call('GET', '{POSITION}') or ''}}
for i = 3, #ARGV do
  local code = ARGV[i]
  local value = redis.call('GET', '{_LINK}' .. code)
    or redis.call('GET', '{_ABSENT}' .. generation .. ':' .. code)
  if value then
    reply[#reply + 1] = value
  elseif redis.call('SET', '{_LEASE}' .. code, token, 'NX', 'PX', lease_ms) then
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
return reply
"""
"""Arguments by `get_or_lease_arguments`, reply for `read_get_or_lease`."""

FILL = f"""
local token, generation, link_ttl, absent_ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = redis.call('GET', '{GENERATION}')
local filled = 0
for i = 5, #ARGV, 2 do
  local code, value = ARGV[i], ARGV[i + 1]
  if redis.call('GET', '{_LEASE}' .. code) == token then
    redis.call('DEL', '{_LEASE}' .. code)
    if value ~= '' then
      redis.call('SET', '{_LINK}' .. code, value, 'EX', link_ttl)
      filled = filled + 1
    elseif generation == now then
      redis.call('SET', '{_ABSENT}' .. generation .. ':' .. code, value, 'EX', absent_ttl)
      filled = filled + 1
    end
  end
end
return filled
"""
"""Arguments by `fill_arguments`; replies how many of the values were accepted."""

INVALIDATE = f"""
{_FORGET}
forget(ARGV[1], 2)
return 1
"""
"""Arguments by `invalidate_arguments`."""

ADVANCE = f"""
{_FORGET}
local position = redis.call('GET', '{POSITION}') or ''
if position ~= ARGV[1] then
  return 0
end
forget(ARGV[5], 6)
redis.call('SET', '{POSITION}', ARGV[2])
redis.call('PUBLISH', '{CHANNEL}', 'heartbeat ' .. ARGV[3] .. ' ' .. ARGV[4])
return 1
"""
"""Arguments by `advance_arguments`; replies 0, having done nothing, where the position differs."""


class Position(NamedTuple):
    """How far a data set of Redis has had the changes of the change log applied."""

    snapshot: Snapshot
    word: str
    """Never used twice."""

    def __str__(self) -> str:
        return f"{self.snapshot} {self.word}"

    @classmethod
    def read(cls, value: bytes) -> Position:
        """Raises ValueError for a value that isn't a position."""
        snapshot, word = value.decode().split(" ")
        return cls(Snapshot.read(snapshot), word)


@dataclass(frozen=True)
class Looked:
    """What Redis knew of some codes."""

    found: Mapping[str, Link | None]
    leased: frozenset[str]
    """Codes that the asker may fill."""
    generation: bytes
    """Of negative answers; a fill hands it back."""
    position: Position | None

    def covers(self, known: Snapshot | None) -> bool:
        """Whether every change that is `known` has been applied to what was found."""
        if known is None or self.position is None:
            return False
        return self.position.snapshot.covers(known)


def get_or_lease_arguments(token: bytes, codes: Sequence[str]) -> list[bytes | str | int]:
    """`token` must be one that nobody else uses."""
    return [token, LEASE_MS, *codes]


def read_get_or_lease(codes: Sequence[str], reply: Sequence[bytes | int]) -> Looked:
    """Raises ValueError for a value that `encode` didn't make, or a position that isn't one."""
    found: dict[str, Link | None] = {}
    leased = set()
    generation, position, *values = reply
    assert isinstance(generation, bytes)
    assert isinstance(position, bytes)
    for code, value in zip(codes, values, strict=True):
        if isinstance(value, bytes):
            found[code] = decode(value)
        elif value == 1:
            leased.add(code)
    at = Position.read(position) if position else None
    return Looked(found, frozenset(leased), generation, at)


def fill_arguments(
    token: bytes,
    generation: bytes,
    links: Mapping[str, Link | None],
    *,
    link_ttl: int,
    absent_ttl: int,
) -> list[bytes | str | int]:
    """`link_ttl` and `absent_ttl` in seconds."""
    arguments: list[bytes | str | int] = [token, generation, link_ttl, absent_ttl]
    for code, link in links.items():
        arguments += (code, encode(link))
    return arguments


def invalidate_arguments(codes: Iterable[str], *, absent_generation: str = "") -> list[str]:
    """A non-empty `absent_generation` that was never used before voids all negative answers."""
    return [absent_generation, *codes]


def advance_arguments(
    found: Position | None,
    start: Snapshot,
    to: Position,
    changes: Changes,
    *,
    absent_generation: str,
) -> list[str]:
    """Applies `changes`, which are all since `start`, where the position is `found`."""
    return [
        "" if found is None else str(found),
        str(to),
        str(start),
        str(to.snapshot),
        absent_generation if changes.absent else "",
        *changes.codes,
    ]


class Heartbeat(NamedTuple):
    """Every change between two snapshots of the change log has been published before this."""

    start: Snapshot
    end: Snapshot


def read_message(message: bytes) -> Changes | Heartbeat:
    """What a message on `CHANNEL` says; raises ValueError for one that isn't ours."""
    kind, *words = message.decode().split(" ")
    if kind == "codes":
        return Changes(codes=tuple(words))
    if kind == "absent":
        return Changes(absent=True)
    if kind == "heartbeat":
        start, end = words
        return Heartbeat(Snapshot.read(start), Snapshot.read(end))
    raise ValueError(f"unknown message {message[:80]!r}")
