"""The worker's own HTTP: `/health`, `/ready` and `/prometheus`, for those who watch over it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from services.worker.worker import Worker

CLIENT_TIMEOUT_SECONDS = 5

_log = logging.getLogger(__name__)


@contextmanager
def serve(host: str, port: int, worker: Worker, registry: CollectorRegistry) -> Iterator[None]:
    """Answers in threads of its own as long as the context lasts. Raises OSError."""

    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_TIMEOUT_SECONDS

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].rstrip("/")
            if path == "/health":
                self._json(200, {"status": "ok", "hostname": socket.gethostname()})
            elif path == "/ready":
                self._json(200 if worker.is_ready else 503, worker.state())
            elif path == "/prometheus":
                self._send(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            else:
                self._json(404, {"error": "not found"})

        def send_error(self, code: int, message: str | None = None, *_: object) -> None:
            self._json(code, {"error": (message or "bad request").lower()})

        def log_message(self, *message: object) -> None:
            _log.debug(*message)

        def _json(self, status: int, content: dict[str, str]) -> None:
            self._send(status, "application/json", orjson.dumps(content))

        def _send(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer((host, port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
