"""An HTTP server that tells what reached it: what stands behind nginx in tests of nginx."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infra.local.ports import HOST


class Upstream:
    """Answers 200 with the request as JSON; a query asks for something else.

    `?status=503` sets the status, `?hang` never answers, `?drop` hangs up without an answer.
    """

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self.connections = 0
        self.requests: list[str] = []
        self.first_bytes = threading.Event()
        """Set when the first bytes of a body are here."""
        self._server = _Server((HOST, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.end_all()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: set[socket.socket] = set()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no error."""

    def end_all(self) -> None:
        for request in list(self._open):
            request.shutdown(socket.SHUT_RDWR)


def _handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet an answer

        def setup(self) -> None:
            super().setup()
            upstream.connections += 1

        def handle_any(self) -> None:
            upstream.requests.append(f"{self.command} {self.path}")
            length = self._read_body()
            _, _, query = self.path.partition("?")
            if query == "hang":
                threading.Event().wait(30)
            if query in ("hang", "drop"):
                self.close_connection = True
                return
            status = int(query.removeprefix("status=")) if query.startswith("status=") else 200
            body = json.dumps(
                {
                    "upstream": upstream.name,
                    "method": self.command,
                    "path": self.path,
                    "headers": dict(self.headers),
                    "length": length,
                }
            ).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Request-ID", "the-service's-own")
            if status == 503:
                self.send_header("Retry-After", "7")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def _read_body(self) -> int:
            wanted = int(self.headers.get("Content-Length", 0))
            got = 0
            while got < wanted:
                got += len(self.rfile.read1(wanted - got))
                upstream.first_bytes.set()
            return got

    return Handler
