"""What happens around every request: its id, its log entry, and methods that nobody has."""

from __future__ import annotations

import contextvars
import logging
import random
import re
import time
from typing import Any

import falcon

REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")

_SAFE_ID = re.compile(r"[A-Za-z0-9_.-]{16,64}")

_log = logging.getLogger("services.api.requests")


class RequestId(logging.Filter):
    """Puts the id of the request that is being answered into each log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        request_id = REQUEST_ID.get()
        if request_id:
            record.request_id = request_id
        return True


class Requests:
    """Gives each request an id, nginx's if it came with one, and logs how it went."""

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        req.context.began = time.perf_counter()
        if "%2F" in req.env.get("RAW_URI", "").partition("?")[0].upper():
            # It is part of a name, not a separator, and no name here holds one.
            raise falcon.HTTPRouteNotFound
        given = req.get_header("X-Request-ID", default="")
        REQUEST_ID.set(given if _SAFE_ID.fullmatch(given) else f"{random.getrandbits(128):032x}")

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool
    ) -> None:
        resp.set_header("X-Request-ID", REQUEST_ID.get())
        _log.info(
            "request",
            extra={
                "method": req.method,
                "path": req.path,
                "status": resp.status_code,
                "duration_ms": round((time.perf_counter() - req.context.began) * 1_000, 1),
            },
        )


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
