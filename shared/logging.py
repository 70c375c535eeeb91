"""Logs: one JSON object a line on standard output."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

import orjson
from pydantic import SecretStr
from pythonjsonlogger.core import RESERVED_ATTRS, BaseJsonFormatter

from shared import request_ids
from shared.repeat_limit import RepeatLimit
from shared.settings import Settings

REQUESTS = "hoplink.requests"
"""What entries of which there is one a request name as their logger; its level is theirs."""
MAX_TEXT = 2_000
"""Characters of a message, and of any other text in an entry."""
MAX_TRACE = 8_000
"""Characters of a trace, its last ones: they name the error."""
MIN_SECRET = 4
"""Characters of a password that is worth looking for in every entry."""

_log = logging.getLogger(__name__)

_SKIPPED = {*RESERVED_ATTRS, "message", "color_message"}
_PLAIN = (int, float, bool, type(None))
_CREDENTIALS = r"(?<=://)[^\s/?#@\"']*(?=@)"


class JsonLines(logging.StreamHandler[TextIO]):
    """Writes entries, and hands each of them to `listener` as well."""

    listener: Callable[[str], None] | None = None
    """Called in the thread that logs, by one at a time, so it must neither wait nor fail."""

    def __init__(self, stream: TextIO, limit: RepeatLimit, formatter: EntryFormatter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._entries = formatter
        self._limit = limit

    @property
    def held_back(self) -> int:
        """Entries that came too often to be written."""
        return self._limit.held_back

    def handle(self, record: logging.LogRecord) -> bool:
        self.summarise()
        if not self._limit.admits(record):
            return False
        return bool(super().handle(record))

    def request(self, level: int, fields: Mapping[str, object], *, fed: bool) -> None:
        """The entry of a request that was answered; unless it is `fed`, `listener` isn't told.

        Such entries are not held back. Each request has one, and a LogRecord with what logging
        does to it would take four times as long.
        """
        try:
            self._write(self._entries.request(time.time(), level, fields), fed=fed)
        except Exception:  # noqa: BLE001  # a log entry never fails what is logged
            self.handleError(logging.LogRecord(REQUESTS, level, "", 0, "request", None, None))

    def summarise(self) -> None:
        """Says what was held back lately. To be called now and then."""
        for summary in self._limit.summaries():
            super().handle(summary)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record), fed=True)
        except Exception:  # noqa: BLE001  # a log entry never fails what is logged
            self.handleError(record)

    def _write(self, line: str, *, fed: bool) -> None:
        assert self.lock is not None
        with self.lock:
            self.stream.write(line + self.terminator)
            self.stream.flush()
            if fed and self.listener is not None:
                self.listener(line)


class EntryFormatter(BaseJsonFormatter):
    """An entry as JSON: `time` first, every text bounded, no secret in it."""

    def __init__(self, service: str, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(message)s")
        self._service = service
        words = sorted(map(re.escape, secrets), key=len, reverse=True)
        self._secret = re.compile("|".join([_CREDENTIALS, *words]))
        self._second = (0, "")

    def request(self, created: float, level: int, fields: Mapping[str, object]) -> str:
        """The entry of a request: texts in it came from a client, none is a secret of ours."""
        entry: dict[str, Any] = {
            "time": self._time(created),
            "level": logging.getLevelName(level),
            "service": self._service,
            "logger": REQUESTS,
            "message": "request",
            "request_id": request_ids.CURRENT.get(),
        }
        entry.update(fields)
        line = self.jsonify_log_record(entry)
        if len(line) > MAX_TEXT:
            # Only then may there be a text that is too long.
            for name, value in fields.items():
                entry[name] = value[:MAX_TEXT] if type(value) is str else value
            line = self.jsonify_log_record(entry)
        return line

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        log_data["time"] = self._time(record.created)
        log_data["level"] = record.levelname
        log_data["service"] = self._service
        log_data["logger"] = record.name
        log_data["message"] = self._text(record.message)
        request_id = request_ids.CURRENT.get()
        if request_id:
            log_data["request_id"] = request_id
        for name, value in record.__dict__.items():
            if name not in _SKIPPED:
                log_data[name] = value if type(value) in _PLAIN else self._text(str(value))
        for name, trace in message_dict.items():
            log_data[name] = self._secret.sub("***", str(trace))[-MAX_TRACE:]

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        try:
            return orjson.dumps(log_data).decode()
        except TypeError:
            # It takes neither lone surrogates nor numbers beyond 64 bits.
            return json.dumps(log_data)

    def _text(self, text: str) -> str:
        # Cut first: what a client sent may be long. A secret that is cut off is found no more,
        # hence the margin.
        return self._secret.sub("***", text[: 2 * MAX_TEXT])[:MAX_TEXT]

    def _time(self, created: float) -> str:
        """RFC 3339 in UTC, with milliseconds; always of the same length."""
        whole = int(created)
        second, text = self._second
        if whole != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
            self._second = (whole, text)
        return f"{text}.{int((created - whole) * 1_000):03d}Z"


def configure(service: str, settings: Settings) -> JsonLines:
    """Sends every log record of this process to standard output, from LOG_LEVEL up.

    Errors that nobody handles, in any thread, become entries as well.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    formatter = EntryFormatter(service, secrets_of(settings))
    handler = JsonLines(sys.stdout, RepeatLimit(), formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _unhandled
    threading.excepthook = _unhandled_in_thread
    return handler


def secrets_of(settings: Settings) -> Iterator[str]:
    """What must not be in the log, however it is spelled there.

    A password that is as public as a user's or a database's name is none.
    """
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            parts = urlsplit(text)
            password = parts.password if parts.scheme and parts.hostname else text
            public = (parts.username, parts.path.lstrip("/"))
            if password and len(password) >= MIN_SECRET and password not in public:
                yield from {password, unquote(password)}


def _unhandled(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _log.critical("unhandled error", exc_info=(kind, error, trace))


def _unhandled_in_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        _unhandled(failure.exc_type, failure.exc_value, failure.exc_traceback)
