"""Redis as the redirector knows it: the links that all redirectors share."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from shared import link_cache
from shared.link_cache import Link, Looked

_PROBED = "-"
"""No short code: too short."""


class RemoteCache:
    """The two steps of a reader, as shared.link_cache defines them. Failures are redis-py's."""

    def __init__(self, client: Redis, *, link_ttl: int, absent_ttl: int) -> None:
        self._pool: Any = client.connection_pool
        self._get_or_lease: Any = client.register_script(link_cache.GET_OR_LEASE)
        self._fill: Any = client.register_script(link_cache.FILL)
        self._link_ttl = link_ttl
        self._absent_ttl = absent_ttl
        self._nonce = secrets.token_hex(8)
        self._count = itertools.count()

    async def probe(self) -> None:
        """Makes sure that Redis can be read and written; raises redis-py's errors.

        A ping would not tell: one that was demoted, or whose disk is full, still answers it. The
        idle connections go first, since they may lead to the one that failed.
        """
        await self._pool.disconnect(inuse_connections=False)
        await self.look_up([_PROBED], self.new_token())

    def new_token(self) -> bytes:
        return f"{self._nonce}:{next(self._count)}".encode()

    async def look_up(self, codes: Sequence[str], token: bytes) -> Looked:
        """What Redis knows of `codes`; the rest is leased to `token`, where it was free."""
        arguments = link_cache.get_or_lease_arguments(token, codes)
        reply = await self._run(self._get_or_lease, arguments)
        return link_cache.read_get_or_lease(codes, reply)

    async def fill(self, token: bytes, generation: bytes, links: Mapping[str, Link | None]) -> None:
        """Offers what was read under `token`; Redis takes what no change came between."""
        arguments = link_cache.fill_arguments(
            token,
            generation,
            links,
            link_ttl=self._link_ttl,
            absent_ttl=self._absent_ttl,
        )
        await self._run(self._fill, arguments)

    async def _run(self, script: Any, arguments: Sequence[bytes | str | int]) -> Any:
        """What calling `script` does, in less than half its time.

        A connection that raises anything, a cancellation too, has closed itself.
        """
        command = hiredis.pack_command(("EVALSHA", script.sha, 0, *arguments))
        connection = await self._pool.get_connection()
        try:
            await connection.send_packed_command(command, check_health=False)
            return await connection.read_response()
        except NoScriptError:
            pass
        finally:
            await self._pool.release(connection)
        return await script(args=arguments)
