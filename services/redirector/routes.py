"""HTTP of the redirector, and nothing else."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.redirector.breaker import Breaker
from services.redirector.clicks import ClickLog
from services.redirector.http_counts import REDIRECT_ROUTE, HttpCounts
from services.redirector.resolver import Resolver, Unavailable
from shared import request_ids
from shared.metrics import NO_ROUTE
from shared.short_codes import is_possible

RETRY_AFTER_SECONDS = 1
SYSTEM_ROUTES = ("/health", "/ready", "/prometheus")

_log = logging.getLogger(__name__)


class Redirect:
    """`GET /<short_code>`: 302 to the link's destination, 404, or 503 when no store can tell.

    An ASGI application, not a function of a request: building a Request takes longer than
    everything else here.
    """

    def __init__(self, resolver: Resolver, clicks: ClickLog | None = None) -> None:
        self._resolver = resolver
        self._clicks = clicks
        self._absent = failure(404, "no such link")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Returns the status of the answer."""
        try:
            entry = await self._resolver.resolve(scope["path_params"]["short_code"])
        except Unavailable as error:
            await self._unavailable(str(error), scope)(scope, receive, send)
            return 503
        if entry is None:
            await self._absent(scope, receive, send)
            return 404
        if self._clicks is not None:
            self._clicks.take_down_headers(
                entry.link_id, scope["headers"], is_head=scope["method"] == "HEAD"
            )
        headers = [(b"location", entry.location), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body"})
        return 302

    @staticmethod
    def _unavailable(reason: str, scope: Scope) -> Response:
        request_id = _note_request_id(scope)
        entry = {"method": scope["method"], "route": REDIRECT_ROUTE, "status": 503}
        _log.warning("no answer for a short code", extra={**entry, "reason": reason})
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS), request_ids.HEADER: request_id}
        return failure(503, reason, headers)


class Shortcut:
    """Middleware that brings requests for what may be a short code to `redirect` at once.

    Starlette's routes lead there as well, but looking for the way takes a seventh of a Redis hit.
    What passes here is counted; the fast lane counts for itself.
    """

    def __init__(self, app: ASGIApp, redirect: Redirect, counts: HttpCounts | None = None) -> None:
        self._app = app
        self._redirect = redirect
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        try:
            status = await self._answer(scope, receive, send)
        except Exception:
            # For the log entry and the answer, which are made further out.
            _note_request_id(scope)
            raise
        finally:
            if self._counts is not None:
                seconds = time.perf_counter() - began
                self._counts.add(scope["method"], route_of(scope), status, seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Returns the status of the answer."""
        if scope["method"] in ("GET", "HEAD"):
            code = scope["path"][1:].removesuffix("/")
            if is_possible(code):
                scope["path_params"] = {"short_code": code}
                return await self._redirect(scope, receive, send)
        status = 500

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, watched_send)
        return status


def route_of(scope: Scope) -> str:
    """The route that a request was answered by; `none` if it led nowhere."""
    if "short_code" in scope.get("path_params", ()):
        return REDIRECT_ROUTE
    path = str(scope["path"]).removesuffix("/")
    return path if path in SYSTEM_ROUTES else NO_ROUTE


@dataclass
class System:
    """`/health`, `/ready` and `/prometheus`."""

    registry: CollectorRegistry
    database: Breaker
    redis: Breaker
    is_draining: Callable[[], bool]
    """Whether the process stops, and only answers who is connected."""
    started: bool = False
    hostname: str = field(default_factory=socket.gethostname)

    @property
    def is_ready(self) -> bool:
        """Whether new clients may come."""
        return self.started and not self.is_draining()

    async def health(self, _request: Request) -> Response:
        return answer(200, {"status": "ok", "hostname": self.hostname})

    async def ready(self, _request: Request) -> Response:
        state = {
            "status": "ok" if self.is_ready else "unavailable",
            "database": "down" if self.database.is_open else "up",
            "redis": "down" if self.redis.is_open else "up",
        }
        return answer(200 if self.is_ready else 503, state)

    async def prometheus(self, _request: Request) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


def routes(redirect: Redirect, system: System) -> list[Route]:
    """Each with and without a slash at its end."""
    handlers = (system.health, system.ready, system.prometheus)
    endpoints: dict[str, Callable[..., Any]] = {
        **dict(zip(SYSTEM_ROUTES, handlers, strict=True)),
        REDIRECT_ROUTE: redirect,
    }
    return [
        Route(path + slash, endpoint, methods=["GET"])
        for path, endpoint in endpoints.items()
        for slash in ("", "/")
    ]


async def http_exception(_request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405, in the shape that every error has."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    return failure(error.status_code, error.detail.lower(), headers)


async def server_error(_request: Request, _error: Exception) -> Response:
    """A bug of ours: the answer says nothing of the inside; Starlette has it logged."""
    return failure(500, "internal error", {request_ids.HEADER: request_ids.CURRENT.get()})


def _note_request_id(scope: Scope) -> str:
    """The id of a request, which from here on is in its log entries.

    Looked for only where something goes wrong: nginx puts it on every answer, redirects have no
    entry of their own.
    """
    given = Headers(scope=scope).get(request_ids.HEADER, "")
    request_id = request_ids.accepted(given)
    request_ids.CURRENT.set(request_id)
    return request_id


def answer(status: int, content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return answer(status, {"error": message}, headers)
