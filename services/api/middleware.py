"""What happens around every request: its id, its log entry, and methods that nobody has."""

from __future__ import annotations

import logging
import time
from functools import cache
from typing import Any

import falcon

from services.api.metrics import HttpMetrics
from shared import request_ids
from shared.live_stats import MONITORING
from shared.logging import REQUESTS, JsonLines
from shared.metrics import NO_ROUTE

_logger = logging.getLogger(REQUESTS)


class Requests:
    """Gives each request an id, nginx's if it came with one; counts and logs how it went."""

    def __init__(self, counts: HttpMetrics, log: JsonLines, *, log_addresses: bool) -> None:
        self._counts = counts
        self._log = log
        self._log_addresses = log_addresses

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        req.context.began = time.perf_counter()
        request_ids.CURRENT.set(
            request_ids.accepted(req.get_header(request_ids.HEADER, default=""))
        )
        if "%2F" in req.env.get("RAW_URI", "").partition("?")[0].upper():
            # It is part of a name, not a separator, and no name here holds one.
            raise falcon.HTTPRouteNotFound

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        resp.set_header(request_ids.HEADER, request_ids.CURRENT.get())
        status = resp.status_code
        route = route_of(req.uri_template)
        seconds = time.perf_counter() - req.context.began
        self._counts.answered(req.method, route, status, seconds)
        level = logging.INFO if status < 500 else logging.WARNING
        if not _logger.isEnabledFor(level):
            return
        entry: dict[str, object] = {
            "method": req.method,
            "route": route,
            "path": req.path,
            "status": status,
            "duration_ms": round(seconds * 1_000, 1),
        }
        if self._log_addresses:
            # Of the client, as nginx has it, which overwrites this header.
            entry["client"] = req.get_header("X-Forwarded-For", default=req.remote_addr)
        no_news = status < 500 and (route in MONITORING or _is_the_dashboards(req))
        self._log.request(level, entry, fed=not no_news)


def _is_the_dashboards(req: falcon.Request) -> bool:
    """Whether a page that asks every other second wants this."""
    return req.method == "GET" and req.get_header("Referer", default="").endswith("/dashboard")


@cache
def route_of(template: str | None) -> str:
    """A route as people write it: `/users/{user_id}`; `none` for a path that leads nowhere."""
    return NO_ROUTE if template is None else template.replace(":id}", "}")


class Request(falcon.Request):
    """Falcon keeps this one method for itself and would answer 400 before any middleware."""

    def __init__(self, env: dict[str, Any], options: falcon.RequestOptions | None = None) -> None:
        super().__init__(env, options)
        if self.method == "WEBSOCKET":
            self.method = "UNKNOWN"


class Methods:
    """405 instead of Falcon's 400 for methods that HTTP does not know."""

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: Any, _params: dict[str, Any]
    ) -> None:
        if req.method not in falcon.COMBINED_METHODS:
            methods = (
                name for name in falcon.HTTP_METHODS if hasattr(resource, f"on_{name.lower()}")
            )
            raise falcon.HTTPMethodNotAllowed([*methods, "OPTIONS"])
