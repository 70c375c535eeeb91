"""Users of a Hoplink, for Locust: readers, integrators, dashboards and a scanner of random codes.

Redirects are not followed: what is measured is Hoplink, not where links lead. Run it by
`make loadtest`, which says whose machine may be loaded.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
from typing import Any, ClassVar

import gevent
from locust import FastHttpUser, LoadTestShape, between, events, task
from locust.env import Environment

from loadtest import workload
from loadtest.objectives import Measured, check_host, judge
from loadtest.shapes import SHAPES, Shape
from shared.short_codes import generate

SHAPE: Shape = SHAPES[os.environ.get("SHAPE") or "smoke"]
PROGRESS_SECONDS = 2.0
LINKS = 2_000
"""Links that readers know, at most; made if there are too few."""
FEW_LINKS = 50


class Links:
    """Links that are there, the first ones more popular than the others."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.ids: list[int] = []
        self._weights: list[float] = []

    def learn(self, client: Any) -> None:
        """Asks for what is there; makes some when that is little."""
        found: list[Any] = []
        url = "/urls?is_active=true&per_page=1000"
        while url and len(found) < LINKS:
            answer = client.get(url, name="prepare")
            answer.raise_for_status()
            found += answer.json()
            _, _, url = answer.headers.get("Link", "").partition("<")
            url = url.partition(">")[0]
        while len(found) < FEW_LINKS:
            content = {"original_url": workload.destination(len(found))}
            answer = client.post("/urls", json=content, name="prepare")
            answer.raise_for_status()
            found.append(answer.json())
        self.codes = [link["short_code"] for link in found]
        self.ids = [link["id"] for link in found]
        if SHAPE.one_link:
            self.codes = self.codes[:1]
        ranks = range(1, len(self.codes) + 1)
        self._weights = list(itertools.accumulate(1 / rank for rank in ranks))

    def popular(self) -> str:
        """A code by Zipf's law."""
        return random.choices(self.codes, cum_weights=self._weights)[0]  # noqa: S311  # a load

    def any_id(self) -> int:
        return random.choice(self.ids)  # noqa: S311  # a load


LINKS_KNOWN = Links()


class Visitor(FastHttpUser):
    """Asks, and says which status is right."""

    abstract = True
    kind: ClassVar[str]

    def ask(self, method: str, path: str, name: str, *right: int, **content: Any) -> Any:
        """The content of the answer, None unless its status is one of `right`."""
        with self.client.request(
            method, path, name=name, allow_redirects=False, catch_response=True, **content
        ) as answer:
            if answer.status_code in right:
                answer.success()
                return answer.json() if answer.status_code < 300 else None
            answer.failure(f"{answer.status_code or answer.error}")
        return None


class Reader(Visitor):
    """Follows links, popular ones more often."""

    weight = SHAPE.kinds.get("reader", 0)
    wait_time = between(0.05, 0.2)

    @task
    def follow(self) -> None:
        # It may have been deleted by an integrator a moment ago.
        self.ask("GET", f"/{LINKS_KNOWN.popular()}", "redirect", 302, 404)


class Scanner(Visitor):
    """Tries codes at random: none of them is there."""

    weight = SHAPE.kinds.get("scanner", 0)
    wait_time = between(0.05, 0.2)

    @task
    def scan(self) -> None:
        self.ask("GET", f"/{generate()}", "unknown code", 404)


class Integrator(Visitor):
    """Makes, reads, changes and deletes links of its own."""

    weight = SHAPE.kinds.get("integrator", 0)
    wait_time = between(0.2, 1.0)

    @task
    def manage(self) -> None:
        target = {"original_url": f"https://example.com/{secrets.token_hex(8)}"}
        link = self.ask("POST", "/urls", "write", 201, json=target)
        if link is None:
            return
        self.ask("GET", f"/urls/{link['id']}", "read", 200)
        self.ask("GET", f"/{link['short_code']}", "redirect", 302)
        self.ask("PUT", f"/urls/{link['id']}", "write", 200, json={"title": "changed"})
        self.ask("DELETE", f"/urls/{link['id']}", "write", 200)


class Dashboard(Visitor):
    """Looks at lists and statistics."""

    weight = SHAPE.kinds.get("dashboard", 0)
    wait_time = between(1.0, 3.0)

    @task
    def look(self) -> None:
        self.ask("GET", "/urls?per_page=20", "read", 200)
        self.ask("GET", "/urls?sort=clicks", "statistics", 200)
        self.ask("GET", f"/urls/{LINKS_KNOWN.any_id()}/stats", "statistics", 200)


class Staged(LoadTestShape):
    """The stages of SHAPE."""

    def tick(self) -> tuple[int, float] | None:
        return SHAPE.users_at(self.get_run_time())


@events.test_start.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    assert environment.host
    check_host(environment.host, os.environ.get("ALLOW_HOST", ""))
    # Locust does this later.
    Reader.host = environment.host
    LINKS_KNOWN.learn(Reader(environment).client)
    environment.stats.reset_all()
    gevent.spawn(tell_progress, environment)


def tell_progress(environment: Environment) -> None:
    """A line every few seconds."""
    while environment.runner:
        gevent.sleep(PROGRESS_SECONDS)
        total = environment.stats.total
        seconds = total.last_request_timestamp or 0
        done = min(SHAPE.seconds, seconds - environment.stats.start_time)
        print(
            f"{done:5.0f} of {SHAPE.seconds:.0f} s  {environment.runner.user_count:4} users"
            f"  {total.current_rps:6.0f} requests/s  {total.num_failures} failed",
            flush=True,
        )


@events.quitting.add_listener
def give_verdict(environment: Environment, **_: Any) -> None:
    measured = [
        Measured(
            entry.name,
            entry.num_requests,
            entry.num_failures,
            entry.get_response_time_percentile(0.99) or 0,
        )
        for entry in environment.stats.entries.values()
        if entry.name != "prepare"
    ]
    problems = judge(measured)
    for problem in problems:
        print(f"falls short: {problem}")
    print("all objectives are met" if not problems else "objectives are not met")
    environment.process_exit_code = 1 if problems else 0
