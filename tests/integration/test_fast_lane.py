"""The redirector's connections over real sockets: the process as a deployment runs it."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psutil
import psycopg2
import pytest

from services.redirector.protocol import MAX_REQUEST_BYTES
from tests.support.services import ServiceProcess, StartService
from tests.support.waiting import wait_for

GET = b"GET /abc HTTP/1.1\r\nHost: sho.rt\r\n\r\n"
FOUND = re.compile(
    rb"HTTP/1\.1 302 Found\r\ndate: [^\r]+ GMT\r\n"
    rb"location: https://example\.com/\r\ncontent-length: 0\r\n(connection: close\r\n)?\r\n"
)


@pytest.fixture
def link(database_url: str) -> None:
    add_link(database_url, "abc", "https://example.com/")


def add_link(database_url: str, code: str, destination: str) -> None:
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO urls (short_code, original_url, created_at, updated_at)"
            " VALUES (%s, %s, now(), now())",
            (code, destination),
        )
    connection.close()


@contextmanager
def connected(service: ServiceProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        yield client


def receive(client: socket.socket) -> bytes:
    """Bytes up to the end of a response's head."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        data = client.recv(65_536)
        if not data:
            break
        received += data
    return received


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(65_536) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        client.settimeout(10)


def hits(service: ServiceProcess) -> float:
    text = service.http.get("/prometheus").text
    found = re.search(r'redirects_total{outcome="found",tier="local"} (\S+)', text)
    return float(found[1]) if found else 0


def test_the_store_and_the_memory_give_the_same_bytes(
    link: None, start_service: StartService
) -> None:
    redirector = start_service("redirector")
    with connected(redirector) as client:
        for method in (b"GET", b"HEAD", b"GET"):
            client.sendall(GET.replace(b"GET", method))
            assert FOUND.fullmatch(receive(client))
    assert hits(redirector) == 2


@pytest.mark.parametrize("sent", [b"", GET, GET[:20]], ids=["new", "served", "half a request"])
def test_an_idle_connection_is_closed(sent: bytes, link: None, start_service: StartService) -> None:
    redirector = start_service("redirector", REDIRECTOR_KEEP_ALIVE_SECONDS="1")
    with connected(redirector) as client:
        started = time.monotonic()
        client.sendall(sent)
        if sent == GET:
            receive(client)
        wait_for(lambda: is_closed(client), "the idle connection to be closed", seconds=5)
        assert time.monotonic() - started >= 1


def test_connections_beyond_the_limit_are_told_so_and_the_others_served(
    link: None, start_service: StartService
) -> None:
    redirector = start_service("redirector", REDIRECTOR_MAX_CONNECTIONS="3")
    redirector.http.close()
    clients = []
    try:
        for _ in range(3):
            clients.append(socket.create_connection(("127.0.0.1", redirector.port), timeout=10))
            clients[-1].sendall(GET)
            assert FOUND.fullmatch(receive(clients[-1]))
        with connected(redirector) as refused:
            answer = receive(refused) + refused.recv(1_000)
            assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"retry-after: 1\r\n" in answer
            assert answer.endswith(b'{"error":"too many connections"}')
        clients.pop().close()

        def is_served() -> bool:
            with connected(redirector) as client:
                client.sendall(GET)
                return receive(client).startswith(b"HTTP/1.1 302 ")

        wait_for(is_served, "the room that a closed connection leaves")
    finally:
        for client in clients:
            client.close()


def test_a_head_beyond_the_limit_is_refused(start_service: StartService) -> None:
    redirector = start_service("redirector")
    with connected(redirector) as client:
        client.sendall(GET[:-2] + b"X: " + b"x" * (MAX_REQUEST_BYTES * 3 // 2) + b"\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 431 ")


def test_clients_that_do_not_read_take_no_memory(
    database_url: str, start_service: StartService
) -> None:
    add_link(database_url, "long", "https://example.com/" + "x" * 2_000)
    redirector = start_service("redirector")
    process = psutil.Process(redirector.pid)
    before = process.memory_info().rss
    request = GET.replace(b"abc", b"long")
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(redirector)) for _ in range(6)]
        reader = stack.enter_context(connected(redirector))
        for client in clients:
            client.setblocking(False)
        sent, held_back = 0, set[socket.socket]()
        while len(held_back) < len(clients):
            for client in clients:
                try:
                    sent += client.send(request)
                except BlockingIOError:
                    held_back.add(client)
            # A round trip: what was sent has been read, unless it is held back.
            reader.sendall(request)
            assert receive(reader).startswith(b"HTTP/1.1 302 ")
        grown = process.memory_info().rss - before
        assert grown < 5 << 20, f"{len(clients)} clients that don't read cost {grown >> 20} MiB"


def test_no_request_is_lost_when_the_redirector_stops(
    link: None, start_service: StartService
) -> None:
    """Clients that never pause get an answer to everything, the last one with Connection: close."""
    redirector = start_service("redirector")
    busy = threading.Barrier(9)

    def ask_until_told_to_stop() -> int:
        with connected(redirector) as client:
            for count in range(1_000_000):
                if count == 50:
                    busy.wait()
                client.sendall(GET)
                answer = FOUND.fullmatch(receive(client))
                assert answer, "a request was not answered"
                if answer[1]:
                    assert client.recv(1) == b""
                    return count
        raise AssertionError("it never stopped")

    with ThreadPoolExecutor(8) as pool, connected(redirector) as idle:
        asked = [pool.submit(ask_until_told_to_stop) for _ in range(8)]
        busy.wait()
        redirector.send_signal(signal.SIGTERM)
        assert all(one.result(timeout=20) >= 50 for one in asked)
        assert idle.recv(1) == b"", "an idle connection was left open"
    wait_for(lambda: not redirector.is_running, "the redirector to end")
