"""/urls and /shorten: links."""

from __future__ import annotations

import falcon

from services.api import busiest, errors, parameters, read_cache
from services.api.bodies import read_object
from services.api.busiest import BusiestLinks
from services.api.connections import Connections
from services.api.link_writes import CodeFixed, CodeTaken, LinkWrites, NoCodeFree, UnknownUser
from services.api.models import Url
from services.api.own_address import OwnAddress
from services.api.pagination import Listing, Lists, Row
from services.api.read_cache import ReadCache
from services.api.resources import Readable
from services.api.schemas import LinkChanges, NewLink, ShortenRequest, UrlObject, to_json

COLUMNS = (
    Url.id,
    Url.user.alias("user_id"),
    Url.short_code,
    Url.original_url,
    Url.title,
    Url.is_active,
    Url.created_at,
    Url.updated_at,
)


class Links:
    """Links as the API shows and takes them; methods raise HTTP errors."""

    def __init__(self, connections: Connections, writes: LinkWrites, base_url: str) -> None:
        self._connections = connections
        self._writes = writes
        self._base_url = base_url
        self._own = OwnAddress(base_url)

    def present(self, row: Row) -> UrlObject:
        return UrlObject.of(row, self._base_url)

    def listing(self) -> Listing:
        return Listing(Url, COLUMNS, read_cache.LINKS, self.present)

    def get(self, link_id: int) -> UrlObject:
        query = Url.select(*COLUMNS).where(Url.id == link_id)
        with self._connections.lend() as database:
            return self._one(next(iter(query.dicts().execute(database)), None))

    def create(self, body: dict[str, object], schema: type[NewLink]) -> UrlObject:
        link = schema.model_validate(body, context=self._own)
        try:
            return self.present(self._writes.create(link))
        except CodeTaken:
            raise errors.taken("short_code") from None
        except NoCodeFree:
            raise errors.busy("no free short code was found") from None
        except UnknownUser:
            raise errors.bad_request("user_id", "no such user") from None

    def update(self, link_id: int, body: dict[str, object]) -> UrlObject:
        changes = LinkChanges.model_validate(body, context=self._own)
        if not changes.model_fields_set:
            raise errors.bad_request(
                "body", "holds nothing to update: original_url, title, user_id or is_active"
            )
        try:
            return self._one(self._writes.update(link_id, changes))
        except CodeFixed:
            raise errors.bad_request("short_code", "can't be changed") from None
        except UnknownUser:
            raise errors.bad_request("user_id", "no such user") from None

    def delete(self, link_id: int) -> UrlObject:
        return self._one(self._writes.deactivate(link_id))

    def _one(self, row: Row | None) -> UrlObject:
        if row is None:
            raise errors.not_found("URL")
        return self.present(row)


class LinkList(Readable):
    """/urls"""

    def __init__(
        self, links: Links, lists: Lists, busiest_links: BusiestLinks, max_body_bytes: int
    ) -> None:
        self._links = links
        self._lists = lists
        self._busiest = busiest_links
        self._max_body_bytes = max_body_bytes

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        if busiest.is_asked_for(req):
            resp.data = to_json([self._links.present(row) for row in self._busiest.read(req)])
            return
        self._lists.send(
            req,
            resp,
            self._links.listing(),
            user_id=parameters.integer(req, "user_id"),
            is_active=parameters.boolean(req, "is_active"),
        )

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        _created(resp, self._links.create(read_object(req, self._max_body_bytes), NewLink))


class Shorten:
    """/shorten"""

    def __init__(self, links: Links, max_body_bytes: int) -> None:
        self._links = links
        self._max_body_bytes = max_body_bytes

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        _created(resp, self._links.create(read_object(req, self._max_body_bytes), ShortenRequest))


class LinkItem(Readable):
    """/urls/<id>"""

    def __init__(self, links: Links, cache: ReadCache, max_body_bytes: int) -> None:
        self._links = links
        self._cache = cache
        self._max_body_bytes = max_body_bytes

    def on_get(self, _req: falcon.Request, resp: falcon.Response, url_id: int) -> None:
        subject = read_cache.link(url_id)
        resp.data = self._cache.answer(
            subject,
            [subject, read_cache.USER_DELETIONS],
            lambda: to_json(self._links.get(url_id)),
        )

    def on_put(self, req: falcon.Request, resp: falcon.Response, url_id: int) -> None:
        resp.data = to_json(self._links.update(url_id, read_object(req, self._max_body_bytes)))

    on_patch = on_put

    def on_delete(self, _req: falcon.Request, resp: falcon.Response, url_id: int) -> None:
        resp.data = to_json(self._links.delete(url_id))


def _created(resp: falcon.Response, link: UrlObject) -> None:
    resp.status = falcon.HTTP_201
    resp.set_header("Location", f"/urls/{link.id}")
    resp.data = to_json(link)
