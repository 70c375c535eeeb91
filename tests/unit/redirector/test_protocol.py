"""What one connection may take, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable

import pytest

from services.redirector.protocol import (
    LINGER_SECONDS,
    MAX_AHEAD,
    MAX_REQUEST_BYTES,
)
from tests.support.wire import Replica, Wire

GET = b"GET /abc HTTP/1.1\r\nHost: sho.rt\r\n\r\n"
UNKNOWN = b"GET /unknown HTTP/1.1\r\nHost: sho.rt\r\n\r\n"
READY = b"GET /ready HTTP/1.1\r\nHost: sho.rt\r\n\r\n"
"""Takes the ordinary path, and a look-up."""


def run(scenario: Callable[[Replica], Awaitable[None]], replica: Replica | None = None) -> None:
    async def main() -> None:
        await scenario(replica or Replica())

    asyncio.run(main())


def statuses(wire: Wire) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", wire.received)]


def error_of(wire: Wire) -> str:
    """The message of the last answer."""
    head, _, body = wire.received.rpartition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"content-length: %d\r\n" % len(body) in head
    return str(json.loads(body)["error"])


class TestSize:
    HEAD = b"GET /abc HTTP/1.1\r\nX: "

    def test_a_head_within_the_limit_is_answered(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(self.HEAD + b"x" * (MAX_REQUEST_BYTES - 100) + b"\r\n\r\n")
            assert statuses(wire) == [302]
            assert wire.is_open

        run(scenario)

    @pytest.mark.parametrize("piece", [100, 5_000, 1 << 20])
    def test_a_head_beyond_the_limit_is_refused(self, piece: int) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            # The ordinary path's: the fast lane holds on to nothing.
            data = self.HEAD.replace(b"abc", b"unknown") + b"x" * (2 * MAX_REQUEST_BYTES)
            for start in range(0, len(data), piece):
                await wire.send(data[start : start + piece])
            assert statuses(wire) == [431]
            assert error_of(wire) == "the request is too large"
            assert not wire.is_open

        run(scenario)

    def test_many_headers_count_together(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(UNKNOWN[:-2])
            for _ in range(MAX_REQUEST_BYTES // 1_000 + 10):
                await wire.send(b"X-Header: %b\r\n" % (b"y" * 1_000))
            assert statuses(wire) == [431]

        run(scenario)

    @pytest.mark.parametrize(
        "framing", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"]
    )
    @pytest.mark.parametrize("method", [b"GET", b"POST"])
    def test_an_endless_body_ends_the_connection(self, method: bytes, framing: bytes) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(b"%b /abc HTTP/1.1\r\n%b\r\n\r\n" % (method, framing))
            answered = wire.received
            assert statuses(wire) == [302 if method == b"GET" else 405]
            for _ in range(200):
                await wire.send(b"400\r\n%b\r\n" % (b"x" * 1024))
            assert not wire.is_open
            assert wire.received == answered, "one request was answered twice"
            assert len(wire.sent) < 2 * MAX_REQUEST_BYTES

        run(scenario)

    def test_endless_trailers_end_the_connection(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(b"GET /abc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
            for _ in range(100):
                await wire.send(b"X-Trailer: %b\r\n" % (b"x" * 1024))
            assert statuses(wire) == [302]
            assert not wire.is_open

        run(scenario)

    def test_the_limit_is_for_each_request(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            large = UNKNOWN[:-2] + b"X: %b\r\n\r\n" % (b"x" * (MAX_REQUEST_BYTES // 2))
            for _ in range(5):
                await wire.send(large[:20_000])
                await wire.send(large[20_000:])
            assert statuses(wire) == [503] * 5
            assert wire.is_open

        run(scenario)


class TestAhead:
    def test_requests_sent_ahead_are_answered_in_order(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send((GET + UNKNOWN) * (MAX_AHEAD // 2))
            assert statuses(wire) == [302, 503] * (MAX_AHEAD // 2)
            assert wire.is_open

        run(scenario)

    def test_too_many_sent_ahead_are_answered_up_to_the_limit(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(GET * 10_000)
            assert statuses(wire) == [302] * (MAX_AHEAD + 1)
            assert wire.received.count(b"connection: close") == 1
            assert wire.received.endswith(b"connection: close\r\n\r\n")
            assert not wire.is_open

        run(scenario)


class TestUnreadable:
    def test_what_is_no_request_is_refused(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01")
            assert statuses(wire) == [400]
            assert error_of(wire) == "invalid HTTP request"
            assert not wire.is_open

        run(scenario)

    def test_what_was_begun_is_answered_before_the_connection_ends(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(UNKNOWN + GET + b"nonsense\r\n\r\n" + GET)
            assert statuses(wire) == [503, 302]
            assert wire.received.endswith(b"connection: close\r\n\r\n")
            assert not wire.is_open

        run(scenario)

    def test_a_broken_body_brings_no_second_answer(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(b"POST /abc HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            await wire.send(b"nonsense\r\n" + GET)
            assert statuses(wire) == [405]
            assert not wire.is_open

        run(scenario)

    def test_an_upgrade_is_the_last_request(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
            assert statuses(wire) == [302]
            assert b"connection: close" in wire.received
            assert not wire.is_open

        run(scenario)

    def test_nothing_is_read_after_the_last_request(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(UNKNOWN[:-2] + b"Connection: close\r\n\r\n", settle=False)
            await wire.send(GET, settle=False)
            assert not wire.protocol.pipeline
            await wire.settle()
            assert statuses(wire) == [503]
            assert not wire.is_open

        run(scenario)


class TestNumber:
    def test_one_connection_too_many_is_told_so(self) -> None:
        async def scenario(replica: Replica) -> None:
            first, second = replica.connect(), replica.connect()
            third = replica.connect()
            assert statuses(third) == [503]
            assert error_of(third) == "too many connections"
            assert b"retry-after: 1\r\n" in third.received
            assert not third.is_open
            assert replica.connections.refused == 1
            await first.send(GET)
            await second.send(GET)
            assert statuses(first) == statuses(second) == [302]

        run(scenario, Replica(limit=2))

    def test_a_connection_that_ended_makes_room(self) -> None:
        async def scenario(replica: Replica) -> None:
            first = replica.connect()
            first.close()
            await first.settle()
            second = replica.connect()
            await second.send(GET)
            assert statuses(second) == [302]

        run(scenario, Replica(limit=1))


class TestIdle:
    """`grow_idle` is called once a second."""

    SECONDS = 3

    def pass_seconds(self, wire: Wire, seconds: int) -> None:
        for _ in range(seconds):
            wire.protocol.grow_idle(self.SECONDS)

    @pytest.mark.parametrize(
        "before", [b"", GET, UNKNOWN], ids=["new", "fast lane", "ordinary path"]
    )
    def test_an_idle_connection_is_closed_after_its_time(self, before: bytes) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            self.pass_seconds(wire, self.SECONDS)
            await wire.send(before)
            self.pass_seconds(wire, self.SECONDS if before else 0)
            assert wire.is_open
            self.pass_seconds(wire, 1)
            assert not wire.is_open

        run(scenario)

    def test_half_a_request_gains_no_time_byte_by_byte(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            for at in range(self.SECONDS + 1):
                await wire.send(GET[at : at + 1])
                assert wire.is_open
                self.pass_seconds(wire, 1)
            assert not wire.is_open

        run(scenario)

    def test_an_answer_that_nobody_takes_ends_the_connection(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            wire.protocol.pause_writing()
            await wire.send(GET, settle=False)
            self.pass_seconds(wire, self.SECONDS)
            assert wire.is_open
            self.pass_seconds(wire, 1)
            assert not wire.is_open
            await wire.settle()

        run(scenario)


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    async def scenario(replica: Replica) -> None:
        wire = replica.connect()
        wire.protocol.pause_writing()
        for _ in range(1_000):
            await wire.send(GET, settle=False)
        assert wire.received == b""
        assert len(wire.sent) <= 2 * len(GET)
        wire.protocol.resume_writing()
        await wire.settle()

    run(scenario)


def test_a_client_that_stops_sending_still_gets_its_answers() -> None:
    async def scenario(replica: Replica) -> None:
        wire = replica.connect()
        await wire.send(UNKNOWN + GET, settle=False)
        wire.finish()
        await wire.settle()
        assert statuses(wire) == [503, 302]
        assert not wire.is_open

    run(scenario)


class TestShutdown:
    def test_what_is_under_way_is_answered_and_is_the_last(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(UNKNOWN, settle=False)
            wire.protocol.shutdown()
            await wire.settle()
            assert statuses(wire) == [503]
            assert b"connection: close" in wire.received
            assert not wire.is_open

        run(scenario)

    @pytest.mark.parametrize("before", [b"", GET])
    def test_a_request_on_its_way_is_answered_and_is_the_last(self, before: bytes) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(before)
            wire.protocol.shutdown()
            await wire.send(GET)
            assert statuses(wire)[-1] == 302
            assert wire.received.endswith(b"connection: close\r\n\r\n")
            assert not wire.is_open

        run(scenario)

    def test_who_is_still_connected_hears_that_it_is_not_ready(self) -> None:
        async def scenario(replica: Replica) -> None:
            one, other = replica.connect(), replica.connect()
            await one.send(READY)
            one.protocol.shutdown()
            await one.send(READY)
            assert statuses(one) == [200, 503]
            await other.send(READY)
            assert statuses(other) == [503]

        run(scenario)

    def test_an_idle_connection_is_closed_shortly(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(GET)
            wire.protocol.shutdown()
            assert wire.is_open
            await asyncio.sleep(LINGER_SECONDS + 0.05)
            assert not wire.is_open

        run(scenario)

    def test_half_a_request_may_become_a_whole_one(self) -> None:
        async def scenario(replica: Replica) -> None:
            wire = replica.connect()
            await wire.send(GET[:20])
            wire.protocol.shutdown()
            await asyncio.sleep(LINGER_SECONDS + 0.05)
            await wire.send(GET[20:])
            assert statuses(wire) == [302]
            assert not wire.is_open

        run(scenario)
