"""What observability costs: `make bench-metrics`.

Each service runs twice on one core, as it is and without: of the redirector the metrics of local
hits are left out, of the API metrics and the log line of each request. Both are loaded at the same
time, so that what else the machine does hits both alike, and CPU times of an answer are compared.
Then each service is scraped under load. Exits with 1 if something costs more than it may.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from infra.local.errors import StackError
from infra.local.ports import HOST
from loadtest import workload
from loadtest.api_bench import Bench, Report
from loadtest.redirect_bench import machine
from loadtest.stack import Server, Stack, StackFailed
from loadtest.wrk import Load, LoadFailed, Wrk, WrkMissing

LINKS = 1_000
MOST_OF_A_REDIRECT = 0.05
MOST_OF_THE_API = 0.10
API_PROCESSES = 2
"""That are scraped as one."""
SCRAPE_EVERY_SECONDS = 0.1
MOST_SCRAPE_SECONDS = 0.05
MOST_SCRAPE_LINES = 3_000

Round = Callable[[], float]
"""Loads a server for some seconds; returns the CPU time of an answer, in microseconds."""


def compare(report: Report, what: str, on: Round, off: Round, *, rounds: int, most: float) -> None:
    """Says what `on` costs more than `off`, by the median of rounds in which both are loaded."""
    pairs = []
    with ThreadPoolExecutor(2) as pool:
        # The first one warms both up.
        for _ in range(rounds + 1):
            running = pool.submit(on), pool.submit(off)
            pairs.append((running[0].result(), running[1].result()))
    with_it, without = (statistics.median(each) for each in zip(*pairs[1:], strict=True))
    costs = [1 - without / with_it for with_it, without in pairs[1:]]
    cost = statistics.median(costs)
    report.say(f"{what}, with", f"{with_it:.2f} us")
    report.say(f"{what}, without", f"{without:.2f} us")
    report.say(f"{what}: lost in single rounds", f"{min(costs):.1%} to {max(costs):.1%}")
    report.say(f"{what}: part of the throughput lost", f"{cost:.1%}", met=cost <= most)


class Redirects:
    """A load of local hits."""

    def __init__(self, stack: Stack) -> None:
        self._wrk = Wrk()
        stack.add_links(LINKS)
        self._codes = workload.write_codes(stack.folder / "codes", workload.in_turn(0, LINKS))
        self._around: Path = workload.write_plain(stack.folder / "plain")

    def on(self, server: Server, seconds: int) -> Load:
        return self._wrk.run(server.port, seconds, codes=self._codes, around=self._around, start=0)

    def microseconds(self, server: Server, seconds: int) -> float:
        before = server.cpu_seconds()
        load = self.on(server, seconds)
        return (server.cpu_seconds() - before) * 1e6 / load.requests


def redirects(stack: Stack, report: Report, rounds: int, seconds: int) -> None:
    load = Redirects(stack)
    with (
        # It shares a core with the load.
        stack.worker.paused(),
        stack.redirector() as on,
        stack.redirector(("-m", "loadtest.unmetered", "redirector")) as off,
    ):
        compare(
            report,
            "a local hit",
            partial(load.microseconds, on, seconds),
            partial(load.microseconds, off, seconds),
            rounds=rounds,
            most=MOST_OF_A_REDIRECT,
        )


def creates(stack: Stack, report: Report, rounds: int, seconds: int) -> None:
    bench = Bench(stack, report)
    with (
        bench.api("-m", "services.api", pinned=True) as on,
        bench.api("-m", "loadtest.unmetered", "api", pinned=True) as off,
    ):
        compare(
            report,
            "a link created",
            lambda: on.load("/urls", seconds).microseconds,
            lambda: off.load("/urls", seconds).microseconds,
            rounds=rounds,
            most=MOST_OF_THE_API,
        )


def redirect_scrapes(stack: Stack, report: Report, rounds: int, seconds: int) -> None:
    """While links are followed, and the worker records it."""
    load = Redirects(stack)
    with stack.redirector() as redirector:
        follow = partial(load.on, redirector, rounds * seconds)
        scrape_under(follow, {"redirector": redirector, "worker": stack.worker}, report)


def api_scrapes(stack: Stack, report: Report, rounds: int, seconds: int) -> None:
    """While links are created."""
    bench = Bench(stack, report)
    with bench.api("-m", "services.api", processes=API_PROCESSES, pinned=True) as api:
        create = partial(api.load, "/urls", rounds * seconds)
        scrape_under(create, {f"API, {API_PROCESSES} processes": api}, report)


def scrape_under(load: Callable[[], object], servers: dict[str, Server], report: Report) -> None:
    """Scrapes `servers` as long as `load` takes, and says how long that took."""
    seconds: dict[str, list[float]] = {name: [] for name in servers}
    lines: dict[str, int] = {}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(load)
        while not running.done():
            for name, server in servers.items():
                began = time.perf_counter()
                lines[name] = len(scrape(server.port).splitlines())
                seconds[name].append(time.perf_counter() - began)
            time.sleep(SCRAPE_EVERY_SECONDS)
        running.result()
    for name, took in seconds.items():
        what = f"{len(took)} scrapes of the {name}"
        report.say(f"{what}: median", f"{statistics.median(took) * 1e3:.1f} ms")
        report.say(f"{what}: 99 of 100", f"{statistics.quantiles(took, n=100)[-1] * 1e3:.1f} ms")
        slowest = max(took)
        met = slowest <= MOST_SCRAPE_SECONDS
        report.say(f"{what}: slowest", f"{slowest * 1e3:.1f} ms", met=met)
        report.say(f"{what}: lines", f"{lines[name]:,}", met=lines[name] <= MOST_SCRAPE_LINES)


def scrape(port: int) -> str:
    """What Prometheus is told."""
    client = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        client.request("GET", "/prometheus")
        response = client.getresponse()
        text = response.read().decode()
    finally:
        client.close()
    if response.status != http.HTTPStatus.OK:
        raise StackFailed(f"port {port} answered a scrape with {response.status}")
    return text


PARTS = {
    "redirects": redirects,
    "creates": creates,
    "redirect-scrapes": redirect_scrapes,
    "api-scrapes": api_scrapes,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-metrics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="of each part (%(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="of a round (%(default)s)")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(%(default)s)"
    )
    arguments = parser.parse_args(argv)
    report = Report()
    try:
        for part in arguments.parts:
            with Stack() as stack:
                print(f"{machine()}\n{stack.cores}")
                PARTS[part](stack, report, arguments.rounds, arguments.seconds)
    except (WrkMissing, LoadFailed, StackFailed, StackError) as error:
        print(f"metrics_bench: {error}", file=sys.stderr)
        return 1
    return int(report.missed)


if __name__ == "__main__":
    sys.exit(main())
