"""How much of a core a redirect costs, next to nginx's `return 302` in the same run: `make bench`.

nginx and one redirector share a core, everything else has the other. Rounds of both alternate, so
that whatever else the machine does hits both. Results and how to read them: docs/CAPACITY.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from infra.local.errors import StackError
from loadtest import workload
from loadtest.stack import Redirector, Server, Stack, StackFailed
from loadtest.wrk import CONNECTIONS, Load, LoadFailed, Wrk, WrkMissing

FEW, SOME, MANY = 1_000, 10_000, 1_000_000
LOCAL_LINKS = 200_000
NEVER_ASKED_FROM = 100_000
"""Links from this number on are asked for by one case only, each once."""
UNKNOWN_FROM = 2 * MANY
DRAWS = 4 * MANY
FULL_SECONDS = 180


@dataclass(frozen=True)
class Round:
    """One server under load for a few seconds."""

    load: Load
    cpu_seconds: float
    answers: dict[str, float]
    """Of a redirector, by the tier they came from."""

    @property
    def microseconds(self) -> float:
        """Server CPU time a redirect."""
        return self.cpu_seconds * 1e6 / self.load.requests


@dataclass
class Rounds:
    """What was measured of one server."""

    rounds: list[Round] = field(default_factory=list)

    def median(self, of: Callable[[Round], float]) -> float:
        return statistics.median(map(of, self.rounds))

    def spread(self, of: Callable[[Round], float]) -> tuple[float, float]:
        values = [of(each) for each in self.rounds]
        return min(values), max(values)

    def tiers(self) -> dict[str, float]:
        """The part that each tier had in the answers."""
        total: dict[str, float] = {}
        for each in self.rounds:
            for tier, count in each.answers.items():
                total[tier] = total.get(tier, 0) + count
        whole = sum(total.values())
        return {tier: count / whole for tier, count in total.items() if count / whole >= 0.0005}


@dataclass(frozen=True)
class Case:
    """What is asked of the redirector. nginx is asked the same."""

    name: str
    what: str
    browser: bool = False
    settings: dict[str, int] = field(default_factory=dict)
    numbers: Callable[[], Iterator[int]] = lambda: workload.in_turn(0, FEW)
    """Of the links asked for, in order."""
    warm_seconds: int = 1
    fill: bool = False
    """Redis knows all links, and the local cache is filled before the first round."""
    through_nginx: bool = False
    served_by: str | None = None
    """The tier that all answers must come from."""


CASES = (
    Case("local", "local hit, 1,000 links, Host only", served_by="local"),
    Case("local-browser", "local hit, 1,000 links, 12 headers", browser=True, served_by="local"),
    Case(
        "redis",
        "Redis hit, 10,000 links, none local",
        settings={"local_cache_links": 1},
        numbers=lambda: workload.in_turn(0, SOME),
        warm_seconds=5,
        served_by="redis",
    ),
    Case(
        "database",
        "database hit, each code for the first time",
        numbers=lambda: workload.in_turn(NEVER_ASKED_FROM, MANY - NEVER_ASKED_FROM),
        served_by="database",
    ),
    Case(
        "unknown",
        "unknown code, each for the first time",
        numbers=lambda: workload.in_turn(UNKNOWN_FROM, MANY),
        served_by="absent (database)",
    ),
    Case(
        "unknown-again",
        "unknown code, 1,000 of them again and again",
        settings={"absent_ttl_seconds": 3_600},
        numbers=lambda: workload.in_turn(UNKNOWN_FROM + MANY, FEW),
        served_by="absent (local)",
    ),
    Case(
        "zipf",
        "1,000,000 links by Zipf's law, 200,000 local",
        settings={"local_cache_links": LOCAL_LINKS},
        numbers=lambda: workload.zipf(MANY, DRAWS, seed=1),
        fill=True,
    ),
    Case(
        "nginx",
        "local hit through nginx, 1,000 links, 12 headers",
        browser=True,
        through_nginx=True,
        served_by="local",
    ),
)


class Progress:
    """One line on a terminal that says what is going on; nothing where there is none."""

    def __init__(self) -> None:
        self._shows = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._shows:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        self.show("")


class Bench:
    """Runs cases on a stack that was started."""

    def __init__(self, stack: Stack, wrk: Wrk, *, rounds: int, seconds: int) -> None:
        self._stack = stack
        self._wrk = wrk
        self._rounds = rounds
        self._seconds = seconds
        self._progress = Progress()
        self._is_filled = False
        self._around = {
            False: workload.write_plain(stack.folder / "plain"),
            True: workload.write_browser(stack.folder / "browser"),
        }

    def run(self, case: Case) -> tuple[Rounds, Rounds]:
        """What nginx and the redirector made of it. Raises LoadFailed."""
        self._progress.show(f"{case.name}: preparing")
        codes = workload.write_codes(self._stack.folder / "codes", case.numbers())
        if case.fill and not self._is_filled:
            self._stack.fill_redis(MANY)
            self._is_filled = True
        nginx, ours = Rounds(), Rounds()
        with (
            self._stack.fixed_nginx() as fixed,
            self._stack.redirector(**case.settings) as redirector,
            self._faces(case, fixed) as (fixed_face, fixed_servers),
            self._faces(case, redirector) as (face, servers),
            self._load_alone(case),
        ):
            load = partial(self._wrk.run, codes=codes, around=self._around[case.browser])
            asked = self._warm(case, redirector, partial(load, face.port))
            for number in range(self._rounds):
                self._progress.show(f"{case.name}: round {number + 1} of {self._rounds}")
                nginx.rounds.append(
                    self._measure(fixed_servers, None, partial(load, fixed_face.port, start=asked))
                )
                measured = self._measure(servers, redirector, partial(load, face.port, start=asked))
                # wrk asked for some more than it counted answers to.
                asked += measured.load.requests + CONNECTIONS
                ours.rounds.append(measured)
        self._progress.clear()
        self._check(case, ours)
        return nginx, ours

    @contextmanager
    def _faces(self, case: Case, server: Server) -> Iterator[tuple[Server, list[Server]]]:
        """What clients talk to, and all that works for the answer."""
        if case.through_nginx:
            with self._stack.front_nginx(server) as front:
                yield front, [front, server]
        else:
            yield server, [server]

    @contextmanager
    def _load_alone(self, case: Case) -> Iterator[None]:
        """Where requests a second count, nobody records clicks on the core of the load meanwhile.

        They are still taken down, and brought to Redis.
        """
        with self._stack.worker.paused() if case.through_nginx else nullcontext():
            yield

    def _warm(self, case: Case, redirector: Redirector, load: Callable[..., Load]) -> int:
        """Brings the redirector to its working temperature; returns how far in the codes it is."""
        asked = load(case.warm_seconds, start=0).requests + CONNECTIONS
        deadline = time.monotonic() + FULL_SECONDS
        while case.fill and redirector.links() < LOCAL_LINKS:
            if time.monotonic() > deadline:
                raise LoadFailed(f"{case.name}: the local cache holds {redirector.links()} links")
            self._progress.show(f"{case.name}: {redirector.links()} links local")
            asked += load(5, start=asked).requests + CONNECTIONS
        return asked

    def _measure(
        self, servers: Sequence[Server], redirector: Redirector | None, load: Callable[..., Load]
    ) -> Round:
        answers = redirector.answers() if redirector else {}
        before = sum(server.cpu_seconds() for server in servers)
        seen = load(self._seconds)
        spent = sum(server.cpu_seconds() for server in servers) - before
        after = redirector.answers() if redirector else {}
        gained = {tier: count - answers.get(tier, 0) for tier, count in after.items()}
        return Round(seen, spent, gained)

    def _check(self, case: Case, measured: Rounds) -> None:
        expected = case.served_by
        if expected is not None and measured.tiers().get(expected, 0) < 0.99:
            raise LoadFailed(f"{case.name}: answers came from {measured.tiers()}")
        refused = sum(each.load.not_found for each in measured.rounds)
        if refused and not case.name.startswith("unknown"):
            raise LoadFailed(f"{case.name}: {refused} requests were answered by an error")


def report(case: Case, nginx: Rounds, ours: Rounds) -> str:
    """A few lines on one case."""
    lines = [case.what]
    for name, measured in (("nginx", nginx), ("redirector", ours)):
        cpu = measured.spread(lambda each: each.microseconds)
        rate = measured.spread(lambda each: each.load.per_second)
        lines.append(
            f"  {name:10}"
            f" {measured.median(lambda each: each.load.per_second):9,.0f}/s"
            f" ({rate[0]:,.0f} to {rate[1]:,.0f})"
            f"  {measured.median(lambda each: each.microseconds):7.2f} us"
            f" ({cpu[0]:.2f} to {cpu[1]:.2f})"
            f"  p50 {measured.median(lambda each: each.load.p50):.2f} ms"
            f"  p99 {measured.median(lambda each: each.load.p99):.2f} ms"
        )
    cpu_ratio, rate_ratio = ratios(nginx, ours)
    tiers = ", ".join(f"{tier} {share:.1%}" for tier, share in ours.tiers().items())
    lines.append(f"  of nginx's: CPU {cpu_ratio:.2f}, requests {rate_ratio:.2f}   from: {tiers}")
    return "\n".join(lines)


def ratios(nginx: Rounds, ours: Rounds) -> tuple[float, float]:
    """Redirects that the same CPU time gives, and requests a second, as parts of nginx's."""
    return (
        nginx.median(lambda each: each.microseconds) / ours.median(lambda each: each.microseconds),
        ours.median(lambda each: each.load.per_second)
        / nginx.median(lambda each: each.load.per_second),
    )


def machine() -> str:
    """What it runs on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = f"{len(names)} x {names[0].partition(': ')[2]}" if names else cpu
    return f"{cpu}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    chosen = [case for case in CASES if case.name in arguments.cases]
    results = {}
    try:
        wrk = Wrk()
        with Stack() as stack:
            print(f"{machine()}\n{stack.cores}\n{arguments.rounds} rounds of {arguments.seconds} s")
            stack.add_links(MANY)
            bench = Bench(stack, wrk, rounds=arguments.rounds, seconds=arguments.seconds)
            for case in chosen:
                nginx, ours = bench.run(case)
                print(f"\n{report(case, nginx, ours)}", flush=True)
                results[case.name] = {"nginx": asdict(nginx), "redirector": asdict(ours)}
    except (WrkMissing, LoadFailed, StackFailed, StackError) as error:
        print(f"redirect_bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if arguments.json is not None:
        head = {"machine": machine(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
        arguments.json.write_text(json.dumps(head | {"cases": results}, indent=1) + "\n")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="redirect_bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each server, alternating")
    parser.add_argument("--seconds", type=int, default=5, help="of load in a round")
    parser.add_argument(
        "--cases",
        type=lambda text: text.split(","),
        default=names,
        help=f"some of {','.join(names)}",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all rounds there")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.cases) - set(names))
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(names)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
