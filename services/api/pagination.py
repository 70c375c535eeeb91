"""Lists: a page of a query, by number or by cursor, and the way to the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import falcon

from services.api import parameters
from services.api.connections import Connections
from services.api.errors import bad_request
from services.api.models import Event, Url, User
from services.api.read_cache import ReadCache
from services.api.schemas import to_json

DEFAULT_SIZE = 20
MAX_SIZE = 1_000
MAX_SKIPPED_ROWS = 100_000
"""PostgreSQL reads what a page number skips; a cursor skips nothing."""

Row = Mapping[str, Any]
Entity = User | Url | Event


@dataclass(frozen=True)
class Page:
    """Which part of a list was asked for."""

    size: int
    skip: int = 0
    after: int = 0
    """Only ids above this one."""

    @classmethod
    def asked_for(cls, req: falcon.Request) -> Self:
        """Raises HTTP error 400."""
        number = parameters.integer(req, "page")
        size = parameters.integer(req, "per_page")
        after = parameters.integer(req, "after")
        if size is None:
            size = DEFAULT_SIZE
        if not 1 <= size <= MAX_SIZE:
            raise bad_request("per_page", f"must be 1 to {MAX_SIZE}")
        if number == 0:
            raise bad_request("page", "must be at least 1")
        if number is not None and after is not None:
            raise bad_request("after", "goes without page")
        skip = ((number or 1) - 1) * size
        if skip > MAX_SKIPPED_ROWS:
            raise bad_request(
                "page",
                f"would skip more than {MAX_SKIPPED_ROWS} rows;"
                " use after=<last id>, as the Link header does",
            )
        return cls(size, skip, after or 0)


@dataclass(frozen=True)
class Listing:
    """A kind of list: what it selects, what it shows, and how an entry looks."""

    model: type[Entity]
    columns: tuple[Any, ...]
    subject: str
    present: Callable[[Row], object]


def select(listing: Listing, filters: Mapping[str, object], page: Page) -> Any:
    """The rows of a page, by id, and one more that tells whether another page follows."""
    model = listing.model
    query: Any = model.select(*listing.columns)
    for name, value in filters.items():
        query = query.where(getattr(model, name) == value)
    if page.after:
        query = query.where(model.id > page.after)
    return query.order_by(model.id).offset(page.skip).limit(page.size + 1).dicts()


class Lists:
    """Answers requests for lists."""

    def __init__(self, connections: Connections, cache: ReadCache, base_url: str) -> None:
        self._connections = connections
        self._cache = cache
        self._base_url = base_url

    def send(
        self, req: falcon.Request, resp: falcon.Response, listing: Listing, **filters: object
    ) -> bool:
        """A page of the entries whose columns have the values of `filters`, as a bare array.

        A filter that is None is none. Returns whether there was any entry; raises HTTP error 400.
        """
        page = Page.asked_for(req)
        given = {name: value for name, value in filters.items() if value is not None}
        answer = self._cache.answer(
            f"{listing.subject} {given} {page}",
            [listing.subject],
            lambda: self._read(listing, given, page),
        )
        last_id, _, resp.data = answer.partition(b"\n")
        if last_id:
            resp.set_header("Link", f'<{self._next(req, last_id.decode())}>; rel="next"')
        return resp.data != b"[]"

    def _read(self, listing: Listing, filters: Mapping[str, object], page: Page) -> bytes:
        """The id to go on after, if another page follows, a line break, and the array."""
        with self._connections.lend() as database:
            rows = list(select(listing, filters, page).execute(database))
        shown = rows[: page.size]
        last_id = shown[-1]["id"] if len(rows) > page.size else ""
        return b"%s\n%s" % (
            str(last_id).encode(),
            to_json([listing.present(row) for row in shown]),
        )

    def _next(self, req: falcon.Request, last_id: str) -> str:
        query = {name: value for name, value in req.params.items() if name != "page"}
        query["after"] = last_id
        return f"{self._base_url}{req.path}?{urlencode(query, doseq=True)}"
