"""Clicks under fire: whatever is killed, none is recorded twice, and none is lost without a name.

`make test` runs a few seconds from a fixed seed, `make chaos` as long as it is told to.
"""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pytest
import redis

from services.redirector.click_shipper import SETTLE_SECONDS
from shared.click_stream import APPEND, STREAM
from tests.support import chaos
from tests.support.click_load import Load, add_links, metric, recorded_agents, totals
from tests.support.proxy import LossyProxy
from tests.support.services import ServiceProcess, StartService
from tests.support.stores import PostgresProcess, ValkeyProcess
from tests.support.waiting import wait_for

SHORT_SECONDS = 3.0
FLUSH_SECONDS = 0.25
SLACK_SECONDS = 0.5
"""What a flush that was due may take on a busy machine."""


@dataclass
class Battlefield:
    """Two redirectors and two workers on stores, all of which may be killed at any time."""

    postgres: PostgresProcess
    valkey: ValkeyProcess
    redirectors: list[ServiceProcess]
    workers: list[ServiceProcess]
    chance: random.Random
    kills: list[tuple[int, float]] = field(default_factory=list)
    """Ports of redirectors that were killed, and when."""
    redis_down: list[tuple[float, float]] = field(default_factory=list)
    lost: float = 0.0
    """By the metric of workers that are gone."""

    def pause(self, most: float) -> None:
        time.sleep(self.chance.uniform(0.05, most))

    def kill_worker(self) -> None:
        worker = self.chance.choice(self.workers)
        self.lost += metric(worker.http.get("/prometheus").text, "hoplink_clicks_lost_total")
        worker.kill()
        self.pause(0.5)
        worker.start()

    def freeze_worker(self) -> None:
        worker = self.chance.choice(self.workers)
        worker.freeze()
        # Long enough, now and then, for the other one to take over.
        self.pause(8.0 if chaos.SECONDS else 1.0)
        worker.thaw()

    def kill_postgres(self) -> None:
        self.postgres.kill()
        self.pause(1.0)
        self.postgres.start()

    def kill_redis(self) -> None:
        began = time.monotonic()
        self.valkey.kill()
        self.pause(1.0)
        self.valkey.start()
        self.redis_down.append((began, time.monotonic()))

    def kill_redirector(self) -> None:
        redirector = self.chance.choice(self.redirectors)
        redirector.kill()
        self.kills.append((redirector.port, time.monotonic()))
        self.pause(0.5)
        redirector.start()

    def stop_redirector(self) -> None:
        redirector = self.chance.choice(self.redirectors)
        redirector.stop()
        # uvicorn ends by the signal that it was asked by, once all is done.
        assert redirector.exit_code in (0, -signal.SIGTERM), "it had to be killed"
        redirector.start()

    def fight(self, actions: Mapping[Callable[[Battlefield], None], int]) -> Load:
        """Load for a while, and `actions`, each as likely as its number says."""
        codes = add_links(self.postgres.url, 20)
        load = Load(codes, [redirector.port for redirector in self.redirectors])
        until = time.monotonic() + (chaos.SECONDS or SHORT_SECONDS)
        choices, weights = list(actions), list(actions.values())
        with load.running():
            # Each of them at least once.
            planned = choices[:]
            self.chance.shuffle(planned)
            while planned or time.monotonic() < until:
                self.pause(1.0)
                action = planned.pop() if planned else self.chance.choices(choices, weights)[0]
                action(self)
            self.pause(1.0)
        self.settle()
        return load

    def settle(self) -> None:
        """Returns when every click that can still be recorded is."""

        def flushed() -> bool:
            return all(
                metric(redirector.http.get("/prometheus").text, "hoplink_clicks_waiting") == 0
                for redirector in self.redirectors
            )

        wait_for(flushed, "redirectors to flush", seconds=20)
        with redis.Redis.from_url(self.valkey.url) as client:
            wait_for(lambda: client.xlen(STREAM) == 0, "the stream to be recorded", seconds=30)
        for worker in self.workers:
            self.lost += metric(worker.http.get("/prometheus").text, "hoplink_clicks_lost_total")

    def missing(self, load: Load) -> list[str]:
        """Answered requests that were not recorded; no click is there twice, or from nowhere."""
        recorded = Counter(recorded_agents(self.postgres.url))
        assert [agent for agent, times in recorded.items() if times > 1] == []
        assert recorded.keys() <= {request.agent for request in load.requests}
        found = totals(self.postgres.url)
        assert set(found.values()) == {recorded.total()}, found
        assert len(load.answered) > 200
        return [request.agent for request in load.answered if request.agent not in recorded]


class Prepare(Protocol):
    """Starts everything; settings are the redirectors', or all services'."""

    def __call__(
        self, everybody: Mapping[str, str] | None = None, **redirectors: str
    ) -> Battlefield: ...


@pytest.fixture
def prepare(
    request: pytest.FixtureRequest,
    start_service: StartService,
    postgres: PostgresProcess,
    valkey: ValkeyProcess,
) -> Prepare:
    def prepare(everybody: Mapping[str, str] | None = None, **redirectors: str) -> Battlefield:
        settings = dict(everybody or {})
        return Battlefield(
            postgres,
            valkey,
            [start_service("redirector", **settings, **redirectors) for _ in range(2)],
            [start_service("worker", **settings) for _ in range(2)],
            chaos.seeded(request.node.name),
        )

    return prepare


@pytest.fixture
def battlefield(prepare: Prepare) -> Battlefield:
    return prepare()


@dataclass
class Lossy:
    """The stores behind proxies that may lose replies to APPEND and to COMMIT."""

    proxies: list[LossyProxy]
    settings: dict[str, str]


@pytest.fixture
def lossy(
    redis_url: str, database_url: str, valkey: ValkeyProcess, postgres: PostgresProcess
) -> Iterator[Lossy]:
    append = hashlib.sha1(APPEND.encode()).hexdigest().encode()
    redis_proxy = LossyProxy(valkey.port, to=append)
    database_proxy = LossyProxy(postgres.port, to=b"COMMIT")
    proxies = [redis_proxy, database_proxy]
    yield Lossy(
        proxies,
        {
            "REDIS_URL": redis_url.replace(f":{valkey.port}/", f":{redis_proxy.port}/"),
            "DATABASE_URL": database_url.replace(f":{postgres.port}/", f":{database_proxy.port}/"),
        },
    )
    for proxy in proxies:
        proxy.close()


@pytest.mark.timeout(120 + 2 * chaos.SECONDS)
def test_killing_workers_and_postgres_loses_no_click(battlefield: Battlefield) -> None:
    load = battlefield.fight(
        {
            Battlefield.kill_worker: 3,
            Battlefield.freeze_worker: 1,
            Battlefield.kill_postgres: 1,
        }
    )
    assert battlefield.missing(load) == []
    assert battlefield.lost == 0


@pytest.mark.timeout(120 + 2 * chaos.SECONDS)
def test_stopping_redirectors_loses_no_click(prepare: Prepare) -> None:
    # So seldom that what comes in before the end is flushed at the end, or never.
    battlefield = prepare(CLICK_FLUSH_MS="2000")
    load = battlefield.fight({Battlefield.stop_redirector: 2, Battlefield.kill_worker: 1})
    assert battlefield.missing(load) == []
    assert battlefield.lost == 0


@pytest.mark.timeout(120 + 2 * chaos.SECONDS)
def test_killing_everything_loses_what_a_killed_redirector_had_not_flushed(
    battlefield: Battlefield,
) -> None:
    load = battlefield.fight(
        {
            Battlefield.kill_redirector: 2,
            Battlefield.kill_worker: 2,
            Battlefield.kill_redis: 1,
            Battlefield.kill_postgres: 1,
        }
    )
    missing = set(battlefield.missing(load))
    unexplained = [
        request
        for request in load.answered
        if request.agent in missing
        and not _may_be_lost(request.redirector, request.time, battlefield)
    ]
    assert unexplained == []
    assert battlefield.lost == 0


@pytest.mark.timeout(120 + 2 * chaos.SECONDS)
def test_replies_that_are_lost_make_no_double_and_lose_nothing(
    prepare: Prepare, lossy: Lossy
) -> None:
    battlefield = prepare(lossy.settings)

    def lose_replies(battlefield: Battlefield) -> None:
        for _ in range(5):
            battlefield.chance.choice(lossy.proxies).lose_replies = 1
            battlefield.pause(0.2)

    load = battlefield.fight({lose_replies: 1})
    assert battlefield.missing(load) == []
    assert battlefield.lost == 0
    assert min(proxy.lost for proxy in lossy.proxies) > 0


def test_what_redis_forgets_is_appended_again_or_counted_as_lost(battlefield: Battlefield) -> None:
    for worker in battlefield.workers:
        worker.stop()
    codes = add_links(battlefield.postgres.url, 20)
    load = Load(codes, [redirector.port for redirector in battlefield.redirectors])
    with load.running(), redis.Redis.from_url(battlefield.valkey.url) as client:
        time.sleep(SETTLE_SECONDS + 1)
        forgotten = time.monotonic()
        client.flushall()
        time.sleep(1)
    for worker in battlefield.workers:
        worker.start()
    battlefield.settle()
    missing = set(battlefield.missing(load))
    assert len(missing) == battlefield.lost
    assert 0 < len(missing) < len(load.answered) / 2
    settled = forgotten - SETTLE_SECONDS
    assert all(each.time < settled for each in load.answered if each.agent in missing)


def test_a_redis_that_hangs_slows_no_redirect_and_loses_no_click(battlefield: Battlefield) -> None:
    codes = add_links(battlefield.postgres.url, 1)
    load = Load(codes, [redirector.port for redirector in battlefield.redirectors])
    with load.running():
        time.sleep(1)
        battlefield.valkey.freeze()
        frozen = time.monotonic()
        time.sleep(1.5)
        thawed = time.monotonic()
        battlefield.valkey.thaw()
        time.sleep(0.5)
    battlefield.settle()
    assert battlefield.missing(load) == []
    meanwhile = [each for each in load.requests if frozen < each.time < thawed]
    assert all(each.answered for each in meanwhile)
    assert sorted(each.seconds for each in meanwhile)[int(len(meanwhile) * 0.99)] < 0.1


def _may_be_lost(port: int, answered: float, battlefield: Battlefield) -> bool:
    """Whether the redirector was killed before it could hand a click to Redis."""
    for killed_port, killed in battlefield.kills:
        if killed_port != port or killed < answered:
            continue
        due = answered + FLUSH_SECONDS + SLACK_SECONDS
        for down, up in battlefield.redis_down:
            if down <= due and up >= answered:
                # A try that was cut off may take its second, and the next one its turn.
                due = max(due, up + 1 + FLUSH_SECONDS + SLACK_SECONDS)
        return killed <= due
    return False
