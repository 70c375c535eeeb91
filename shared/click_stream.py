"""How clicks travel through Redis: one stream, its entries, its scripts. It holds no client.

A redirector is a *producer*. It numbers its clicks from 0 and appends them in *batches*, in order.
Beside the stream Redis holds each producer's *position*: the number of the click that it has to
append next. `APPEND` moves it in the step that appends, and only from where the producer believes
it to be. So a batch whose reply was lost isn't appended twice, and a Redis that came back without
its tail is known by an older position: the producer appends again what it still has.

The worker drops what a producer's numbers show as recorded, and counts a gap in them as lost.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from typing import NamedTuple, Self

STREAM = "hoplink:clicks"
STREAM_BYTES = "hoplink:clicks:bytes"
"""What the entries of the stream add up to; kept by the scripts that add and remove them."""
UNREADABLE = "hoplink:clicks:unreadable"
"""A stream of entries that were taken out because nobody could read them."""
UNREADABLE_LIMIT = 1_000

_POSITION = "hoplink:clicks:position:"
POSITION_LIFE_SECONDS = 86_400
"""After so long without a click a producer's position is forgotten, which means 0."""

BEATS = "hoplink:clicks:beats"
"""When each redirector was last heard of; one that ends in good order removes itself."""
BEAT_SECONDS = 5
SILENCE_SECONDS = 30
"""Who isn't heard of for so long was killed, or is cut off from Redis."""

MAX_BATCH = 4_000
"""Clicks in one batch."""
MAX_USER_AGENT = 512
MAX_REFERRER = 255
"""Longest user agent and referrer host, in bytes."""

APPEND = f"""
local position = '{_POSITION}' .. ARGV[1]
local at = redis.call('GET', position) or '0'
if at ~= ARGV[2] then
  return tonumber(at)
end
local bytes = 0
if redis.call('XLEN', '{STREAM}') > 0 then
  bytes = tonumber(redis.call('GET', '{STREAM_BYTES}') or '0')
end
bytes = bytes + #ARGV[5]
if bytes > tonumber(ARGV[6]) then
  return tonumber(at)
end
redis.call('XADD', '{STREAM}', '*', ARGV[4], ARGV[5])
redis.call('SET', '{STREAM_BYTES}', string.format('%.0f', bytes))
redis.call('SET', position, ARGV[3], 'EX', {POSITION_LIFE_SECONDS})
return tonumber(ARGV[3])
"""
"""Arguments by `append_arguments`. Replies the producer's position: after the batch when it was
appended, `expected` when the stream is full, or another one, where the producer has to go on."""

REMOVE = f"""
local freed = 0
for i = 1, #ARGV, 2 do
  local entry = redis.call('XRANGE', '{STREAM}', ARGV[i], ARGV[i])[1]
  if entry and entry[2][1] == ARGV[i + 1] then
    redis.call('XDEL', '{STREAM}', ARGV[i])
    freed = freed + #entry[2][2]
  end
end
if freed > 0 then
  local bytes = tonumber(redis.call('GET', '{STREAM_BYTES}') or '0')
  redis.call('SET', '{STREAM_BYTES}', string.format('%.0f', math.max(0, bytes - freed)))
end
return freed
"""
"""Removes entries, by pairs of id and label. After a failover an id may belong to another entry."""

SET_ASIDE = f"""
if redis.call('XDEL', '{STREAM}', ARGV[1]) == 0 then
  return 0
end
redis.call('XADD', '{UNREADABLE}', 'MAXLEN', {UNREADABLE_LIMIT}, '*', ARGV[2], ARGV[3])
local bytes = tonumber(redis.call('GET', '{STREAM_BYTES}') or '0')
redis.call('SET', '{STREAM_BYTES}', string.format('%.0f', math.max(0, bytes - #ARGV[3])))
return 1
"""
"""Arguments: an entry's id, label and content. Replies whether it was still there, as 1 or 0."""

BEAT = f"""
return redis.call('HSET', '{BEATS}', ARGV[1], redis.call('TIME')[1])
"""
"""Argument: a name of the redirector's own."""

FIND_SILENT = f"""
local now = tonumber(redis.call('TIME')[1])
local beats = redis.call('HGETALL', '{BEATS}')
local silent = 0
for i = 1, #beats, 2 do
  if now - tonumber(beats[i + 1]) > {SILENCE_SECONDS} then
    redis.call('HDEL', '{BEATS}', beats[i])
    silent = silent + 1
  end
end
return silent
"""
"""Replies how many redirectors fell silent; each of them once."""

_VERSION = 1
_HEAD = struct.Struct("<B16sQqHHHH")
"""Version, producer, first number, what to add to times, clicks, agents, referrers, countries."""


class InvalidBatch(ValueError):
    """An entry that `encode` of this version didn't make."""


class Names(NamedTuple):
    """A sequence of which many values are alike."""

    values: list[bytes]
    places: list[int]
    """In `values`, one for each member of the sequence."""

    @classmethod
    def of(cls, column: Iterable[bytes]) -> Self:
        numbers: defaultdict[bytes, int] = defaultdict(count().__next__)
        places = list(map(numbers.__getitem__, column))
        return cls(list(numbers), places)


class Clicks(NamedTuple):
    """Redirects that were answered, a sequence for each thing that is to be known of them.

    What a request didn't say is empty.
    """

    links: Sequence[int]
    moments: Sequence[float]
    """In seconds, by a clock of the producer's."""
    agents: Names
    referrers: Names
    """Hosts."""
    countries: Names
    heads: Sequence[bool]
    """Whether the method was HEAD."""


@dataclass(frozen=True)
class Batch:
    """Clicks as columns; `agents`, `referrers` and `countries` are indexes into their names."""

    producer: bytes
    first: int
    """Number of its first click, counted from the producer's start."""
    links: tuple[int, ...]
    times: tuple[int, ...]
    """Unix times in milliseconds."""
    heads: tuple[bool, ...]
    agents: tuple[int, ...]
    referrers: tuple[int, ...]
    countries: tuple[int, ...]
    agent_names: list[bytes]
    referrer_names: list[bytes]
    country_names: list[bytes]

    def __len__(self) -> int:
        return len(self.links)

    @property
    def end(self) -> int:
        """Number of the click after its last one."""
        return self.first + len(self.links)


def label(producer: bytes, first: int) -> bytes:
    """The name of an entry's only field: which batch it holds. No two batches share one."""
    return b"%s:%d" % (producer.hex().encode(), first)


def encode(producer: bytes, first: int, clicks: Clicks, *, since: int) -> bytes:
    """One to MAX_BATCH clicks as the content of an entry.

    `producer` is 16 bytes; `since` is the Unix time at which its clock was 0, in milliseconds.
    """
    size = len(clicks.links)
    columns = (clicks.agents, clicks.referrers, clicks.countries)
    names = [column.values for column in columns]
    return b"".join(
        (
            _HEAD.pack(_VERSION, producer, first, since, size, *map(len, names)),
            struct.pack(f"<{size}q", *clicks.links),
            struct.pack(f"<{size}d", *clicks.moments),
            struct.pack(f"<{size}?", *clicks.heads),
            *(struct.pack(f"<{size}H", *column.places) for column in columns),
            *map(_pack_names, names),
        )
    )


def decode(content: bytes) -> Batch:
    """The reverse of `encode`; raises InvalidBatch for anything else."""
    if content[:1] != bytes((_VERSION,)):
        raise InvalidBatch(f"of version {content[:1].hex()}, not {_VERSION}")
    try:
        return _decode(content)
    except (struct.error, ValueError, OverflowError) as error:
        raise InvalidBatch(str(error)) from error


def _decode(content: bytes) -> Batch:
    _, producer, first, since, clicks, *sizes = _HEAD.unpack_from(content)
    at = _HEAD.size
    columns = []
    for kind in ("q", "d", "?", "H", "H", "H"):
        column = struct.Struct(f"<{clicks}{kind}")
        columns.append(column.unpack_from(content, at))
        at += column.size
    links, moments, heads, *indexes = columns
    names = []
    for index, size in zip(indexes, sizes, strict=True):
        found, at = _unpack_names(content, at, size)
        if index and max(index) >= size:
            raise InvalidBatch("names a name that it doesn't hold")
        names.append(found)
    if at != len(content) or not clicks:
        raise InvalidBatch("has another length than it says")
    times = tuple([since + round(moment * 1_000) for moment in moments])
    agents, referrers, countries = indexes
    return Batch(producer, first, links, times, heads, agents, referrers, countries, *names)


def _pack_names(names: Sequence[bytes]) -> bytes:
    return struct.pack(f"<{len(names)}H", *map(len, names)) + b"".join(names)


def _unpack_names(content: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    lengths = struct.unpack_from(f"<{count}H", content, at)
    bounds = list(accumulate(lengths, initial=at + 2 * count))
    if bounds[-1] > len(content):
        raise InvalidBatch("is cut short")
    return [content[start:end] for start, end in pairwise(bounds)], bounds[-1]


def append_arguments(
    producer: bytes, *, expected: int, first: int, end: int, content: bytes, max_bytes: int
) -> list[bytes | str | int]:
    """Appends the batch of the clicks from `first` to before `end`, at position `expected`."""
    return [producer.hex(), expected, end, label(producer, first), content, max_bytes]


def position_key(producer: bytes) -> str:
    """The key of the producer's position; absent means 0."""
    return _POSITION + producer.hex()


def remove_arguments(entries: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """`entries` are pairs of id and label."""
    return [part for entry in entries for part in entry]
