"""/urls?sort=clicks: the links with the most clicks of people."""

from __future__ import annotations

from typing import Any

import falcon

from services.api import parameters
from services.api.connections import Connections
from services.api.errors import bad_request
from services.api.pagination import Page, Row
from shared.database import Database

_BUSIEST = """
SELECT urls.* FROM click_counts AS total JOIN urls ON urls.id = total.link_id
WHERE total.clicks > 0
    AND (%(user_id)s::bigint IS NULL OR urls.user_id = %(user_id)s)
    AND (%(is_active)s::boolean IS NULL OR urls.is_active = %(is_active)s)
ORDER BY total.magnitude DESC, total.clicks DESC, urls.id LIMIT %(limit)s
"""
_NEVER_CLICKED = """
SELECT urls.* FROM urls
WHERE NOT EXISTS (SELECT FROM click_counts AS total WHERE total.link_id = urls.id AND clicks > 0)
    AND (%(user_id)s::bigint IS NULL OR urls.user_id = %(user_id)s)
    AND (%(is_active)s::boolean IS NULL OR urls.is_active = %(is_active)s)
ORDER BY urls.id LIMIT %(limit)s
"""


def is_asked_for(req: falcon.Request) -> bool:
    """Raises HTTP error 400 for any other order."""
    order = parameters.single(req, "sort")
    if order not in (None, "clicks"):
        raise bad_request("sort", "must be clicks")
    return order is not None


class BusiestLinks:
    """Reads them; those that nobody clicked come last, by id."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def read(self, req: falcon.Request) -> list[Row]:
        """`per_page` of them, filtered by `user_id` and `is_active`. Raises HTTP error 400."""
        page = Page.asked_for(req)
        if page.skip or page.after:
            raise bad_request("sort", "goes without a further page; per_page may be up to 1000")
        filters = {
            "user_id": parameters.integer(req, "user_id"),
            "is_active": parameters.boolean(req, "is_active"),
        }
        with self._connections.lend() as database:
            rows = _rows(database, _BUSIEST, {**filters, "limit": page.size})
            if len(rows) < page.size:
                rest = {**filters, "limit": page.size - len(rows)}
                rows += _rows(database, _NEVER_CLICKED, rest)
        return rows


def _rows(database: Database, query: str, values: dict[str, Any]) -> list[Row]:
    cursor = database.execute_sql(query, values)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
