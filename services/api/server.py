"""gunicorn, set up for the API."""

from __future__ import annotations

import http
import socket
import struct
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import _DEFER, ThreadWorker

from services.api import errors
from services.api.app import create_app
from services.api.metrics import HttpMetrics
from services.api.shared_numbers import SharedNumbers
from services.api.telemetry import Telemetry
from shared import request_ids
from shared.log_feed import LogFeed
from shared.logging import JsonLines
from shared.metrics import API, NO_ROUTE, OTHER
from shared.settings import Settings

KEEP_ALIVE_SECONDS = 75
"""Longer than nginx keeps an idle connection to us, so that nginx is the one to close it."""
DRAIN_SECONDS = 30
"""Longest wait for open requests when the API stops."""
MAX_REQUEST_LINE = 8_190
MAX_HEADERS = 100
FIRST_BYTE_SECONDS = 0.05
"""A new connection that says nothing so long leaves its thread to others; gunicorn gives 5 s."""
STALL_SECONDS = 30
"""Longest wait for a client to send or to take some more bytes."""

_STALL = struct.pack("@ll", STALL_SECONDS, 0)

_STATUSES: dict[type[Exception], http.HTTPStatus] = {
    LimitRequestLine: http.HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ExpectationFailed: http.HTTPStatus.EXPECTATION_FAILED,
    UnsupportedTransferCoding: http.HTTPStatus.NOT_IMPLEMENTED,
}

_OUR_FAULT = (InvalidResponseHeader, InvalidResponseHeaderName)


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """A master in the foreground that keeps API_WORKERS processes of API_THREADS threads alive."""

    def __init__(self, settings: Settings, log: JsonLines, *, metered: bool = True) -> None:
        self._settings = settings
        self._log = log
        self._metered = metered
        self._numbers = SharedNumbers()
        self.http: HttpMetrics | None = None
        """Of the worker process that this is."""
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"{self._settings.api_host}:{self._settings.api_port}",
            "workers": self._settings.api_workers,
            "threads": self._settings.api_threads,
            "worker_class": Worker,
            "keepalive": KEEP_ALIVE_SECONDS,
            "graceful_timeout": DRAIN_SECONDS,
            "limit_request_line": MAX_REQUEST_LINE,
            "limit_request_fields": MAX_HEADERS,
            "logger_class": Log,
            "loglevel": self._settings.log_level.lower(),
            "errorlog": None,
            "control_socket_disable": True,
            **self._hooks(),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Runs in each worker process, so that none shares a connection or lacks a thread."""
        feed = LogFeed(self._settings.redis_url.get_secret_value(), self._log)
        telemetry = Telemetry(
            self._settings, exposed=self._numbers.registry(), metered=self._metered
        )
        feed.count_in(telemetry.registry, API)
        feed.start()
        telemetry.start()
        self.http = telemetry.http
        self.cfg.set("worker_exit", lambda _master, _worker: _close(feed, telemetry))
        return create_app(self._settings, self._log, feed, telemetry)

    def _hooks(self) -> dict[str, Any]:
        """Give each process a place for its metrics."""

        def pre_fork(_master: Any, worker: Any) -> None:
            worker.slot = self._numbers.take()

        def post_fork(_master: Any, worker: Any) -> None:
            self._numbers.enter(worker.slot)

        def child_exit(_master: Any, worker: Any) -> None:
            self._numbers.free(worker.slot)

        def on_exit(_master: Any) -> None:
            self._numbers.remove()

        return {
            "pre_fork": pre_fork,
            "post_fork": post_fork,
            "child_exit": child_exit,
            "on_exit": on_exit,
        }


def _close(feed: LogFeed, telemetry: Telemetry) -> None:
    telemetry.close()
    feed.close()


class Log(Logger):  # type: ignore[misc]
    """gunicorn's own messages, among all others instead of beside them."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.propagate = True


class Worker(ThreadWorker):  # type: ignore[misc]
    """Answers what never gets as far as the application in JSON, too.

    A client that stalls in the middle of a request or a response loses its connection instead of
    keeping a thread.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Called with False, among others, when the worker begins to stop."""
        super().set_accept_enabled(enabled)
        if not self.alive:
            self._stop_listening()

    def handle(self, conn: Any) -> Any:
        """Called in a thread of the pool: the connection is new or has something to read."""
        if not conn.initialized and not conn.wait_for_data(FIRST_BYTE_SECONDS):
            return _DEFER
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            conn.sock.setsockopt(socket.SOL_SOCKET, option, _STALL)
        # That of the request before is over; what isn't HTTP never gets one.
        request_ids.CURRENT.set("")
        return super().handle(conn)

    def _stop_listening(self) -> None:
        """Takes in who has connected already; who comes later is refused, and goes elsewhere.

        gunicorn listens until its last request is answered, without accepting anybody. nginx would
        send requests to such a connection, see it reset, and not send a POST again.
        """
        for listener in self.sockets:
            connections = -1
            while self.nr_conns != connections:
                connections = self.nr_conns
                self.accept(listener)
            listener.close()

    def handle_error(self, _req: Any, client: Any, _addr: Any, exc: Exception) -> None:
        """Called with what parsing or answering a request raised; the connection is then closed."""
        if isinstance(exc, ParseException) and not isinstance(exc, _OUR_FAULT):
            status = _STATUSES.get(type(exc), http.HTTPStatus.BAD_REQUEST)
            message = status.phrase.lower()
            self.log.info("refused a request that is not HTTP: %s", exc)
        else:
            status, message = http.HTTPStatus.INTERNAL_SERVER_ERROR, "internal error"
            self.log.error("request failed outside the application", exc_info=exc)
        if self.app.http is not None:
            self.app.http.answered(OTHER, NO_ROUTE, status.value, 0.0)
        body = errors.body(message)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            util.write_nonblock(client, head.encode("ascii") + body)
        except OSError as error:
            self.log.debug("the client did not wait for its error: %s", error)
