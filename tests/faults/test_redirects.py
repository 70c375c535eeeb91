"""Redirects while PostgreSQL and Redis are killed, frozen and restarted, in every combination.

What is in a cache is found, the rest is 503 with Retry-After, nothing is falsely missing, nobody
waits long, and all is well three seconds after the stores are back, without a restart of ours.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from tests.support import chaos
from tests.support.fire import Answer, Fire, Link, add_links
from tests.support.processes import ServerProcess
from tests.support.services import ServiceProcess, StartService
from tests.support.stores import PostgresProcess, ValkeyProcess
from tests.support.waiting import wait_for

# Beside other tests, which take the processors for a tenth of a second now and then, twice as long
# as by default.
BUDGET_MS, REDIS_TIMEOUT_MS = (250, 100) if chaos.SECONDS else (500, 200)
LIMIT_SECONDS = BUDGET_MS / 1_000 + 0.05
"""For 99.9 % of the answers, once a fault is a second old."""
RECOVERY_SECONDS = 3.0
FAULT_SECONDS, LONG_FAULT_SECONDS = 1.6, 8.0
READERS = 3
HOT, WARM, COLD, MISSING = "hot", "warm", "cold", "missing"

Fault = Callable[[ServerProcess], None]


def leave(store: ServerProcess) -> None:
    """Nothing happens to it."""


def kill(store: ServerProcess) -> None:
    store.kill()


def freeze(store: ServerProcess) -> None:
    store.freeze()


FAULTS: Sequence[Fault] = (leave, kill, freeze)
COMBINATIONS = [pair for pair in itertools.product(FAULTS, FAULTS) if pair != (leave, leave)]


@dataclass
class Round:
    """What is asked for during one fault: links in memory, links in Redis, others, and no links."""

    links: dict[str, list[Link]]

    def choose(self, chance: random.Random) -> str:
        kind = chance.choice((HOT, WARM, COLD, MISSING))
        if kind == MISSING:
            return f"{MISSING}-{chance.randrange(10**9)}"
        return chance.choice(self.links[kind]).code


@dataclass
class Ground:
    postgres: PostgresProcess
    valkey: ValkeyProcess
    redirector: ServiceProcess
    other: ServiceProcess
    """Fills Redis with what the first one has not in its own memory."""

    def add_round(self, number: int) -> Round:
        links = {
            kind: add_links(self.postgres.url, f"{kind}{number:03d}", count)
            for kind, count in ((HOT, 10), (WARM, 50), (COLD, 150))
        }
        for link in links[HOT]:
            assert self.redirector.http.get(f"/{link.code}").status_code == 302
        for link in links[WARM]:
            assert self.other.http.get(f"/{link.code}").status_code == 302
        return Round(links)


@pytest.fixture
def ground(start_service: StartService, postgres: PostgresProcess, valkey: ValkeyProcess) -> Ground:
    start_service("worker")
    settings = {
        "STORE_BUDGET_MS": str(BUDGET_MS),
        "REDIS_TIMEOUT_MS": str(REDIS_TIMEOUT_MS),
    }
    redirectors = [start_service("redirector", **settings) for _ in range(2)]
    return Ground(postgres, valkey, *redirectors)


def allowed(kind: str, on_postgres: Fault, on_redis: Fault) -> set[int]:
    """The statuses that promise 3 leaves for a code of this kind during the fault."""
    right = 404 if kind == MISSING else 302
    is_cached = kind == HOT or (kind == WARM and on_redis is leave)
    if is_cached or on_postgres is leave:
        return {right}
    return {right, 503}


def is_right(answer: Answer) -> bool:
    return answer.status == (404 if answer.code.startswith(MISSING) else 302)


def percentile(answers: Sequence[Answer], share: float) -> float:
    """The time that `share` of the answers took at most."""
    times = sorted(answer.seconds for answer in answers)
    return times[math.ceil(share * len(times)) - 1] if times else 0.0


@pytest.mark.timeout(120 + 4 * chaos.SECONDS)
def test_the_stores_may_fail_in_any_combination(ground: Ground) -> None:
    chance = chaos.seeded("redirects")
    combinations = COMBINATIONS * max(1, round(chaos.SECONDS / 100))
    chance.shuffle(combinations)
    rounds = [ground.add_round(number) for number in range(len(combinations))]
    links = [link for one in rounds for kind in one.links.values() for link in kind]
    current = [rounds[0]]
    fire = Fire(chance)
    for _ in range(READERS):
        fire.read(
            ground.redirector.port,
            links,
            pause=0.008,
            choose=lambda: current[0].choose(chance),
        )
    with fire.burning():
        for one, (on_postgres, on_redis) in zip(rounds, combinations, strict=True):
            current[0] = one
            _one_fault(ground, fire, on_postgres, on_redis)
    assert ground.redirector.is_running


def _one_fault(ground: Ground, fire: Fire, on_postgres: Fault, on_redis: Fault) -> None:
    name = f"postgres: {on_postgres.__name__}, redis: {on_redis.__name__}"
    began = time.monotonic()
    on_postgres(ground.postgres)
    on_redis(ground.valkey)
    time.sleep(LONG_FAULT_SECONDS if chaos.SECONDS else FAULT_SECONDS)
    healed = time.monotonic()
    ground.postgres.heal()
    ground.valkey.heal()
    back = time.monotonic()
    wait_for(
        lambda: time.monotonic() > back + 0.4 and all(map(is_right, _last(fire, 0.4))),
        f"full service after {name}",
        seconds=RECOVERY_SECONDS,
    )
    during = fire.since(began, healed)
    for kind in (HOT, WARM, COLD, MISSING):
        statuses = Counter(a.status for a in during if a.code.startswith(kind))
        assert set(statuses) <= allowed(kind, on_postgres, on_redis), f"{name}: {kind} {statuses}"
    assert all(answer.complete for answer in during)
    later = fire.since(began + 1, healed)
    slowest = percentile(later, 0.999)
    print(
        f"{name}: {len(during)} answers, p99.9 {slowest * 1_000:.0f} ms,"
        f" full service after {_last_wrong(fire, back):.2f} s"
    )
    assert slowest <= LIMIT_SECONDS, f"{name}: {slowest:.3f} s"


def _last(fire: Fire, seconds: float) -> list[Answer]:
    return fire.since(time.monotonic() - seconds)


def _last_wrong(fire: Fire, back: float) -> float:
    """How long after the stores were back the last wrong answer was asked for."""
    wrong = [answer.asked_at - back for answer in fire.since(back) if not is_right(answer)]
    return max(wrong, default=0.0)
