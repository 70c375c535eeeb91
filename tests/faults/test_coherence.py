"""No redirector serves an old answer beyond its bound, whatever happens to Redis or the worker.

Two redirectors are read and the links behind them changed through the API all the time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.support import chaos
from tests.support.fire import Answer, Fire, Link, add_links
from tests.support.services import ServiceProcess, StartService
from tests.support.stores import ValkeyProcess
from tests.support.waiting import wait_for

HEARING_BOUND, SILENT_BOUND = 1.0, 3.0
LINKS, WRITERS, READERS = 120, 16, 3
STEADY_SECONDS = 4.0


@dataclass
class Field:
    """Two redirectors, an API and a worker on one Redis."""

    valkey: ValkeyProcess
    redirectors: list[ServiceProcess]
    api: ServiceProcess
    workers: list[ServiceProcess]
    links: list[Link]
    hearing: list[tuple[float, float]] = field(default_factory=list)
    """From when to when all redirectors heard, and nothing was done to anybody."""

    def wait_until_all_hear(self) -> None:
        for redirector in self.redirectors:
            wait_for(lambda: hears(redirector), "a redirector to hear", seconds=5)  # noqa: B023

    def steady(self, seconds: float) -> None:
        self.wait_until_all_hear()
        began = time.monotonic()
        time.sleep(seconds)
        self.hearing.append((began, time.monotonic()))

    def bound(self, answer: Answer) -> float:
        """What was promised of this answer."""
        heard = any(
            began <= answer.superseded_at and answer.asked_at < ended
            for began, ended in self.hearing
        )
        return HEARING_BOUND if heard else SILENT_BOUND

    # Each takes something away, for more than the second after which redirectors notice.

    def restart_redis_with_its_data(self) -> None:
        self.valkey.kill()
        time.sleep(1.2)
        self.valkey.start()

    def restart_redis_at_once(self) -> None:
        self.valkey.kill()
        self.valkey.start()

    def restart_redis_without_data(self) -> None:
        self.valkey.kill()
        self.valkey.lose_data()
        self.valkey.start()

    def undo_what_redis_did_last(self) -> None:
        self.valkey.save_data()
        time.sleep(1.0)
        self.valkey.kill()
        self.valkey.restore_data()
        self.valkey.start()

    def freeze_redis(self) -> None:
        self.valkey.freeze()
        time.sleep(3.5)
        self.valkey.thaw()

    def freeze_a_redirector(self) -> None:
        self.redirectors[0].freeze()
        time.sleep(4.0)
        self.redirectors[0].thaw()

    def kill_the_worker(self) -> None:
        self.workers[0].kill()
        self.workers.append(self.workers.pop(0))
        time.sleep(1.5)
        self.workers[-1].start()

    def freeze_the_worker(self) -> None:
        active = next(w for w in self.workers if w.http.get("/ready").json()["role"] == "active")
        active.freeze()
        time.sleep(5.0)
        active.thaw()

    @property
    def faults(self) -> list[Callable[[], None]]:
        return [
            self.restart_redis_with_its_data,
            self.restart_redis_at_once,
            self.restart_redis_without_data,
            self.undo_what_redis_did_last,
            self.freeze_redis,
            self.kill_the_worker,
            self.freeze_a_redirector,
        ]


def hears(redirector: ServiceProcess) -> bool:
    return metric(redirector, "hoplink_changes_hearing") == 1


def metric(service: ServiceProcess, name: str) -> float:
    lines = service.http.get("/prometheus").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.fixture
def ground(start_service: StartService, valkey: ValkeyProcess, database_url: str) -> Field:
    redirectors = [start_service("redirector") for _ in range(2)]
    return Field(
        valkey,
        redirectors,
        start_service("api", API_WORKERS="1", API_THREADS="20"),
        [start_service("worker") for _ in range(2)],
        add_links(database_url, "link", LINKS),
    )


@contextmanager
def burning(ground: Field, fire: Fire) -> Iterator[None]:
    for redirector in ground.redirectors:
        for _ in range(READERS):
            fire.read(redirector.port, ground.links, pause=0.01)
    for number in range(WRITERS):
        fire.change(ground.api.port, ground.links[number::WRITERS], pause=0.002)
    with fire.burning():
        yield


def assert_no_old_answer(ground: Field, fire: Fire) -> None:
    old = [answer for answer in fire.answers if answer.age > ground.bound(answer)]
    assert old == [], f"{len(old)} of {len(fire.answers)} answers, the oldest {max_age(old):.2f} s"
    assert Counter(answer.status for answer in fire.answers)[302] > 0.9 * len(fire.answers)


def max_age(answers: list[Answer]) -> float:
    return max((answer.age for answer in answers), default=0.0)


def report(ground: Field, fire: Fire, seconds: float) -> None:
    steady = [a for a in fire.answers if a.age > 0 and ground.bound(a) == HEARING_BOUND]
    others = [a for a in fire.answers if a.age > 0 and ground.bound(a) == SILENT_BOUND]
    print(
        f"{seconds:.0f} s: {fire.changes / seconds:.0f} changes/s,"
        f" {len(fire.answers) / seconds:.0f} answers/s; oldest {max_age(steady):.3f} s while"
        f" hearing, {max_age(others):.3f} s otherwise; statuses"
        f" {dict(Counter(answer.status for answer in fire.answers))}"
    )


@pytest.mark.timeout(60 + 2 * chaos.SECONDS)
def test_while_redirectors_hear_no_answer_is_older_than_a_second(ground: Field) -> None:
    fire = Fire(chaos.seeded("steady"))
    with burning(ground, fire):
        ground.steady(chaos.seconds(STEADY_SECONDS))
    report(ground, fire, ground.hearing[0][1] - ground.hearing[0][0])
    assert_no_old_answer(ground, fire)
    assert fire.refused == 0


@pytest.mark.timeout(120 + 2 * chaos.SECONDS)
def test_whatever_fails_no_answer_is_older_than_three_seconds(ground: Field) -> None:
    chance = chaos.seeded("coherence")
    fire = Fire(chance)
    faults = ground.faults
    chance.shuffle(faults)
    if chaos.SECONDS:
        faults.append(ground.freeze_the_worker)
    began = time.monotonic()
    with burning(ground, fire):
        while True:
            for fault in faults:
                ground.wait_until_all_hear()
                fault()
            if time.monotonic() - began >= chaos.SECONDS:
                break
        ground.steady(0.5)
    report(ground, fire, time.monotonic() - began)
    assert_no_old_answer(ground, fire)
    for service in (*ground.redirectors, ground.api, *ground.workers):
        assert service.is_running
