"""The watchdog over connections to PostgreSQL. The pool is tried with the API's contract."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from shared.database import Watchdog


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog()
    yield watchdog
    watchdog.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection to a server that says nothing, and the server's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


def test_a_wait_without_end_is_cut(
    watchdog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, _ = pair
    with watchdog.limit(client, 0.1):
        assert client.recv(1) == b""


def test_a_wait_within_its_limit_is_left_alone(
    watchdog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, server = pair
    with watchdog.limit(client, 60):
        server.send(b"x")
        assert client.recv(1) == b"x"
    client.send(b"y")
    assert server.recv(1) == b"y"


def test_a_connection_that_cannot_be_cut_does_not_end_the_watch(
    watchdog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Nobody would cut any wait of the process again."""
    never_connected = socket.socket()
    client, _ = pair
    with never_connected, watchdog.limit(never_connected, 0), watchdog.limit(client, 0.3):
        assert client.recv(1) == b""
