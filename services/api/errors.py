"""Every failure as `{"error": "<message>"}`, and the statuses that failures have."""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping
from typing import Any, NoReturn

import falcon
import orjson
from peewee import (
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    PeeweeException,
)
from playhouse.pool import MaxConnectionsExceeded
from psycopg2.errors import QueryCanceled
from pydantic import ValidationError

RETRY_AFTER_SECONDS = 1

_log = logging.getLogger(__name__)

_PLAIN_WORDS = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must be at least {min_length} characters",
    "string_too_long": "must be at most {max_length} characters",
}


def body(message: str) -> bytes:
    """What a failure looks like, from every layer."""
    return orjson.dumps({"error": message})


def bad_request(field: str, reason: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(description=f"{field}: {reason}")


def not_found(what: str) -> falcon.HTTPNotFound:
    return falcon.HTTPNotFound(description=f"no such {what}")


def taken(field: str) -> falcon.HTTPConflict:
    return falcon.HTTPConflict(description=f"{field}: is taken")


def constraint(error: IntegrityError) -> str:
    """The name of the constraint that a statement would have broken."""
    return str(_from_psycopg2(error).diag.constraint_name)


def _from_psycopg2(error: PeeweeException) -> Any:
    return error.orig  # type: ignore[attr-defined]  # its stubs don't know it


def busy(message: str) -> falcon.HTTPServiceUnavailable:
    """What may well succeed when it is tried again."""
    return falcon.HTTPServiceUnavailable(description=message, retry_after=RETRY_AFTER_SECONDS)


def explain(error: ValidationError) -> str:
    """Names each field of a payload that is wrong, and says what is wrong with it."""
    return "; ".join(
        f"{problem['loc'][0]}: {_reason(problem)}"
        for problem in error.errors(include_url=False, include_input=False)
    )


def _reason(problem: Mapping[str, Any]) -> str:
    words = _PLAIN_WORDS.get(problem["type"])
    if words is not None:
        return words.format_map(problem.get("ctx", {}))
    return str(problem["msg"]).removeprefix("Value error, ")


def install(app: falcon.App[Any, Any]) -> None:
    app.set_error_serializer(_serialize)
    app.add_error_handler(Exception, _bug)
    app.add_error_handler(falcon.HTTPRouteNotFound, _no_such_path)
    app.add_error_handler(ValidationError, _invalid)
    for unavailable in (OperationalError, InterfaceError, MaxConnectionsExceeded):
        app.add_error_handler(unavailable, _database_unavailable)
    app.add_error_handler(InternalError, _database_refused)


def _serialize(_req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    status = http.HTTPStatus(error.status_code)
    resp.content_type = falcon.MEDIA_JSON
    resp.data = body(error.description or status.phrase.lower())


def _no_such_path(
    _req: falcon.Request, _resp: falcon.Response, _error: Exception, _params: dict[str, Any]
) -> NoReturn:
    raise not_found("path")


def _invalid(
    _req: falcon.Request, _resp: falcon.Response, error: ValidationError, _params: dict[str, Any]
) -> NoReturn:
    raise falcon.HTTPBadRequest(description=explain(error))


def _database_unavailable(
    _req: falcon.Request, _resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> NoReturn:
    _log.warning("no answer from PostgreSQL", extra={"reason": str(error).strip()})
    if isinstance(getattr(error, "orig", None), QueryCanceled):
        raise busy("the database took too long to answer")
    raise busy("the database can't be reached at the moment")


def _database_refused(
    req: falcon.Request, resp: falcon.Response, error: InternalError, params: dict[str, Any]
) -> NoReturn:
    """A transaction cut by its time limit, or a server that is only a replica yet: class 25."""
    if _from_psycopg2(error).pgcode.startswith("25"):
        _database_unavailable(req, resp, error, params)
    _bug(req, resp, error, params)


def _bug(
    req: falcon.Request, _resp: falcon.Response, error: Exception, _params: dict[str, Any]
) -> NoReturn:
    _log.error("request failed", exc_info=error, extra={"method": req.method, "path": req.path})
    raise falcon.HTTPInternalServerError(description="internal error")
