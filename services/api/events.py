"""/events: the audit log of links."""

from __future__ import annotations

import json

import falcon
from peewee import SQL, IntegrityError

from services.api import errors, parameters, read_cache
from services.api.bodies import read_object
from services.api.change_publisher import ChangePublisher
from services.api.connections import Connections
from services.api.models import Event
from services.api.pagination import Listing, Lists
from services.api.resources import Readable
from services.api.schemas import EventObject, NewEvent, to_json
from services.api.urls import Links

COLUMNS = (
    Event.id,
    Event.url.alias("url_id"),
    Event.user.alias("user_id"),
    Event.event_type,
    Event.timestamp,
    Event.details.cast("text").alias("details"),
)
LISTING = Listing(Event, COLUMNS, read_cache.EVENTS, EventObject.of)

_UNKNOWN = {
    "events_url_id_fkey": ("url_id", "no such URL"),
    "events_user_id_fkey": ("user_id", "no such user"),
}


class Events:
    """Events in PostgreSQL, which are added and never changed. Methods raise HTTP errors."""

    def __init__(self, connections: Connections, publisher: ChangePublisher) -> None:
        self._connections = connections
        self._publisher = publisher

    def get(self, event_id: int) -> EventObject:
        query = Event.select(*COLUMNS).where(Event.id == event_id)
        with self._connections.lend() as database:
            for row in query.dicts().execute(database):
                return EventObject.of(row)
        raise errors.not_found("event")

    def add(self, event: NewEvent) -> EventObject:
        details = event.details
        query = Event.insert(
            url=event.url_id,
            user=event.user_id,
            event_type=event.event_type,
            timestamp=SQL("now()"),
            details=None
            if details is None
            else json.dumps(details, ensure_ascii=False, separators=(",", ":")),
        ).returning(*COLUMNS)
        with self._connections.lend() as database:
            try:
                (row,) = query.dicts().execute(database)
            except IntegrityError as error:
                raise errors.bad_request(*_UNKNOWN[errors.constraint(error)]) from None
        self._publisher.publish([read_cache.EVENTS])
        return EventObject.of(row)


class EventList(Readable):
    """/events"""

    def __init__(self, events: Events, lists: Lists, max_body_bytes: int) -> None:
        self._events = events
        self._lists = lists
        self._max_body_bytes = max_body_bytes

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        self._lists.send(
            req,
            resp,
            LISTING,
            url_id=parameters.integer(req, "url_id"),
            user_id=parameters.integer(req, "user_id"),
            event_type=parameters.label(req, "event_type"),
        )

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        event = self._events.add(NewEvent.model_validate(read_object(req, self._max_body_bytes)))
        resp.status = falcon.HTTP_201
        resp.set_header("Location", f"/events/{event.id}")
        resp.data = to_json(event)


class EventItem(Readable):
    """/events/<id>"""

    def __init__(self, events: Events) -> None:
        self._events = events

    def on_get(self, _req: falcon.Request, resp: falcon.Response, event_id: int) -> None:
        resp.data = to_json(self._events.get(event_id))


class LinkEvents(Readable):
    """/urls/<id>/events"""

    def __init__(self, links: Links, lists: Lists) -> None:
        self._links = links
        self._lists = lists

    def on_get(self, req: falcon.Request, resp: falcon.Response, url_id: int) -> None:
        if not self._lists.send(req, resp, LISTING, url_id=url_id):
            self._links.get(url_id)
