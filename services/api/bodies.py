"""JSON bodies, read within a limit."""

from __future__ import annotations

from typing import Any

import falcon
from gunicorn.http.errors import ParseException

from services.api import strict_json
from services.api.errors import bad_request

MAX_DISCARDED_BYTES = 16_777_216


def read_object(req: falcon.Request, max_bytes: int) -> dict[str, Any]:
    """The object that the body holds; raises HTTP errors 400 and 413.

    The media type is not looked at, so that `curl -d` just works.
    """
    check_charset(req)
    try:
        value = strict_json.parse(_read(req, max_bytes).decode("utf-8"))
    except UnicodeDecodeError:
        raise bad_request("body", "must be JSON in UTF-8") from None
    except ValueError as error:
        raise bad_request("body", str(error)) from None
    if not isinstance(value, dict):
        raise bad_request("body", "must be a JSON object")
    for name, member in value.items():
        try:
            strict_json.check([name, member])
        except ValueError as error:
            raise bad_request(name if name.isprintable() else "body", str(error)) from None
    return value


def check_charset(req: falcon.Request) -> None:
    """Raises HTTP error 400 for a body that says it isn't UTF-8."""
    if req.content_type:
        _, parameters = falcon.parse_header(req.content_type)
        if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
            raise bad_request("Content-Type", "the charset must be utf-8")


def too_large(req: falcon.Request, max_bytes: int) -> falcon.HTTPContentTooLarge:
    """The error to raise, once the rest of the body was read, unless that is very much.

    A connection with an unread body is closed, which its client may notice only by losing the
    next request.
    """
    left = MAX_DISCARDED_BYTES
    while left > 0 and (chunk := receive(req, min(left, 65_536))):
        left -= len(chunk)
    return falcon.HTTPContentTooLarge(description=f"body: must be at most {max_bytes} bytes")


def receive(req: falcon.Request, size: int) -> bytes:
    """Some bytes of the body, none at its end; raises HTTP error 400 where it breaks off."""
    try:
        return bytes(req.stream.read(size))
    except (OSError, ParseException) as error:
        raise bad_request("body", "did not arrive whole") from error


def _read(req: falcon.Request, max_bytes: int) -> bytes:
    # gunicorn ends the stream where the body ends, also one that came in chunks without a length.
    length = req.content_length or 0
    raw = b"" if length > max_bytes else receive(req, max_bytes + 1)
    if max(length, len(raw)) > max_bytes:
        raise too_large(req, max_bytes)
    return raw
