"""Clients that ask the next thing as soon as they are answered: `python -m loadtest.keep_alive`.

All in one thread without an HTTP library, so that they take little from what is measured.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from collections import Counter

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def post(path: str, body: bytes) -> bytes:
    """A request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def run(host: str, port: int, request: bytes, *, clients: int, seconds: float) -> dict[int, int]:
    """How many answers of each status came within `seconds`."""
    answers: Counter[int] = Counter()
    received: dict[socket.socket, bytes] = {}
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            client = socket.create_connection((host, port))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(client, selectors.EVENT_READ)
            received[client] = b""
            client.sendall(request)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(1):
                client = key.fileobj  # type: ignore[assignment]
                received[client] += client.recv(65_536)
                if _is_whole(received[client]):
                    answers[int(received[client][9:12])] += 1
                    received[client] = b""
                    client.sendall(request)
        for client in received:
            client.close()
    return dict(answers)


def _is_whole(received: bytes) -> bool:
    head = received.find(b"\r\n\r\n")
    length = _LENGTH.search(received, 0, head + 2) if head >= 0 else None
    return length is not None and len(received) >= head + 4 + int(length[1])


if __name__ == "__main__":
    host, port, path, text, clients, seconds = sys.argv[1:]
    answers = run(
        host,
        int(port),
        post(path, text.encode()),
        clients=int(clients),
        seconds=float(seconds),
    )
    print(json.dumps(answers))
