"""What requests may hold and what responses look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Self

import orjson
from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from services.api.own_address import OwnAddress
from shared import destination, short_codes

MAX_ID = 2**63 - 1
MAX_IMPORTED_ID = 2**53 - 1
"""Generated ids go on after the highest one there is; this leaves them room."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must consist of printable characters")
    return text


def _no_outer_space(text: str) -> str:
    if text != text.strip():
        raise ValueError("must not begin or end with white space")
    return text


def _email(text: str) -> str:
    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError as error:
        raise ValueError(f"must be an email address: {error}") from None
    return text


def _short_code(text: str) -> str:
    # InvalidShortCode and InvalidDestination are ValueErrors, which pydantic turns into its own.
    return short_codes.validate(text)


def _original_url(text: str, info: ValidationInfo) -> str:
    destination.validate(text)
    assert isinstance(info.context, OwnAddress)
    info.context.refuse(text)
    return text


def _details(value: Any) -> Any:
    if value is not None and not isinstance(value, (dict, str)):
        raise ValueError("must be an object, a string or null")
    return value


Id = Annotated[int, Field(ge=1, le=MAX_ID)]
Username = Annotated[
    str,
    Field(min_length=1, max_length=64),
    AfterValidator(_printable),
    AfterValidator(_no_outer_space),
]
Email = Annotated[str, Field(max_length=254), AfterValidator(_email)]
OriginalUrl = Annotated[
    str, Field(max_length=destination.MAX_LENGTH), AfterValidator(_original_url)
]
Title = Annotated[str, Field(max_length=255)]
ShortCode = Annotated[str, AfterValidator(_short_code)]
EventType = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]


class _Payload(BaseModel):
    """A request's body. Names it doesn't know are ignored, so that an object can be sent back."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)


class NewUser(_Payload):
    username: Username
    email: Email


class UserChanges(_Payload):
    """Only the fields that were given (`model_fields_set`) change."""

    username: Username = ""
    email: Email = ""


class NewLink(_Payload):
    """Validated with an OwnAddress as context, so that no link points back at the shortener."""

    original_url: OriginalUrl
    title: Title | None = None
    user_id: Id | None = None
    short_code: ShortCode | None = None


class ShortenRequest(NewLink):
    """A NewLink whose destination is called `url`."""

    original_url: OriginalUrl = Field(alias="url")


class LinkChanges(_Payload):
    """Only the fields that were given (`model_fields_set`) change, the short code never."""

    original_url: OriginalUrl = ""
    title: Title | None = None
    user_id: Id | None = None
    is_active: bool = True
    short_code: str = ""


class NewEvent(_Payload):
    url_id: Id
    event_type: EventType
    user_id: Id | None = None
    details: Annotated[Any, AfterValidator(_details)] = None


class BulkFile(_Payload):
    """The name of a file in seed/."""

    file: Annotated[str, Field(min_length=1, max_length=255)]


class UserObject(BaseModel):
    id: int
    username: str
    email: str
    created_at: datetime


class UrlObject(BaseModel):
    id: int
    user_id: int | None
    short_code: str
    short_url: str
    original_url: str
    title: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any], base_url: str) -> Self:
        return cls.model_validate({**row, "short_url": f"{base_url}/{row['short_code']}"})


class EventObject(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: int
    url_id: int
    user_id: int | None
    event_type: str
    timestamp: datetime
    details: orjson.Fragment
    """JSON that is given back as it came."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        return cls.model_validate({**row, "details": orjson.Fragment(row["details"] or "null")})


class RowError(BaseModel):
    row: int
    error: str


class ImportSummary(BaseModel):
    imported: int
    count: int
    """The same once more."""
    skipped: int
    errors: list[RowError]
    error_count: int


def to_json(answer: object) -> bytes:
    """An object of this module, or a list of them, or plain values; times in whole seconds, UTC."""
    return orjson.dumps(answer, default=_fields, option=_OPTIONS)


_fields: Callable[[Any], Any] = vars
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS
