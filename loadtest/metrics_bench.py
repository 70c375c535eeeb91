"""What observability costs: `make bench-metrics`.

Each service runs twice at the same time on one core, as it is and without: of the redirector the
metrics of local hits are left out, of the API metrics and the log line of each request. Rounds
alternate; the CPU time of an answer is compared. Exits with 1 if it costs more than it may.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial

from infra.local.errors import StackError
from loadtest import workload
from loadtest.api_bench import Bench, Report
from loadtest.redirect_bench import machine
from loadtest.stack import Server, Stack, StackFailed
from loadtest.wrk import LoadFailed, Wrk, WrkMissing

LINKS = 1_000
MOST_OF_A_REDIRECT = 0.05
MOST_OF_THE_API = 0.10

Round = Callable[[], float]
"""Loads a server for some seconds; returns the CPU time of an answer, in microseconds."""


def compare(report: Report, what: str, on: Round, off: Round, *, rounds: int, most: float) -> None:
    """Says what `on` costs more than `off`, by the medians of rounds that alternate."""
    # The first of each warms it up.
    pairs = [(on(), off()) for _ in range(rounds + 1)][1:]
    with_it, without = (statistics.median(each) for each in zip(*pairs, strict=True))
    cost = 1 - without / with_it
    report.say(f"{what}, with", f"{with_it:.2f} us")
    report.say(f"{what}, without", f"{without:.2f} us")
    report.say(f"{what}: part of the throughput lost", f"{cost:.1%}", met=cost <= most)


def redirects(stack: Stack, report: Report, rounds: int, seconds: int) -> None:
    wrk = Wrk()
    stack.add_links(LINKS)
    codes = workload.write_codes(stack.folder / "codes", workload.in_turn(0, LINKS))
    around = workload.write_plain(stack.folder / "plain")

    def loaded(server: Server) -> float:
        before = server.cpu_seconds()
        load = wrk.run(server.port, seconds, codes=codes, around=around, start=0)
        return (server.cpu_seconds() - before) * 1e6 / load.requests

    with (
        stack.redirector() as on,
        stack.redirector(("-m", "loadtest.unmetered", "redirector")) as off,
    ):
        compare(
            report,
            "a local hit",
            partial(loaded, on),
            partial(loaded, off),
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make bench-metrics", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="of each server (%(default)s)")
    parser.add_argument("--seconds", type=int, default=3, help="of a round (%(default)s)")
    arguments = parser.parse_args(argv)
    report = Report()
    try:
        for measure in (redirects, creates):
            with Stack() as stack:
                print(f"{machine()}\n{stack.cores}")
                measure(stack, report, arguments.rounds, arguments.seconds)
    except (WrkMissing, LoadFailed, StackFailed, StackError) as error:
        print(f"metrics_bench: {error}", file=sys.stderr)
        return 1
    return int(report.missed)


if __name__ == "__main__":
    sys.exit(main())
