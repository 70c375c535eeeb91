"""PostgreSQL as the redirector knows it: the one SELECT behind a miss."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from services.redirector.postgres import Pool
from shared.destination import InvalidDestination, to_location
from shared.link_cache import Link

_log = logging.getLogger(__name__)

SELECT = """
SELECT short_code, id, original_url FROM urls
WHERE short_code = ANY(%(codes)s) AND is_active
"""


class LinkStore:
    """The links as they are, in PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def fetch(self, codes: Sequence[str]) -> dict[str, Link | None]:
        """Every one of `codes` with its active link or None; raises postgres.Unreachable."""
        links: dict[str, Link | None] = dict.fromkeys(codes)
        for code, link_id, original_url in await self._pool.fetch(SELECT, {"codes": list(codes)}):
            try:
                links[code] = Link(link_id, to_location(original_url))
            except InvalidDestination as error:
                # The API stores nothing of the kind; no other link must suffer for it.
                _log.error("link can't be redirected to", extra={"link": link_id, "reason": error})
        return links
