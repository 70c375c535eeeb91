"""What clients see while parts of a stack are killed, cut off, replaced and filled up.

`python -m loadtest.resilience` needs a stack of Docker Compose on this machine that holds nothing
worth keeping, with the sample data in it, and root's rights to kill its processes. For each event
it prints what clients saw. Results and how to read them: docs/RESILIENCE.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from loadtest import traffic
from loadtest.containers import Compose, DockerFailed
from loadtest.traffic import Client, Traffic

SEED = Path(__file__).resolve().parent.parent / "seed" / "urls.csv"
BEFORE_SECONDS, AFTER_SECONDS = 2.0, 6.0
CUT_SECONDS = 10.0
"""How long something is away."""

USERS = range(1_000_001, 1_000_201)
"""Ids of the sample data."""

Event = Callable[[Compose], None]


def scaled(compose: Compose) -> None:
    compose.up("redirector", scale=4)
    time.sleep(5)
    compose.up("redirector", scale=1)


def rolled(service: str) -> Event:
    return lambda compose: compose.roll(service)


def killed(service: str) -> Event:
    def event(compose: Compose) -> None:
        compose.kill(service)
        time.sleep(5)
        compose.wait_healthy(service)

    return event


def cut_off(service: str) -> Event:
    """No container of the service reaches the stores, nor they it."""

    def event(compose: Compose) -> None:
        compose.disconnect(service, "stores")
        time.sleep(CUT_SECONDS)
        compose.connect(service, "stores")

    return event


def restarted(service: str) -> Event:
    def event(compose: Compose) -> None:
        compose.run("restart", service)
        compose.wait_healthy(service)

    return event


def redis_loses_everything(compose: Compose) -> None:
    compose.run("rm", "--stop", "--force", "redis")
    compose.run(
        "run", "--rm", "--no-deps", "--entrypoint", "rm", "redis", "-rf", "/data/appendonlydir"
    )
    compose.up("redis")


def disk_fills_up(compose: Compose) -> None:
    """First for tables, then for the write-ahead log too; then there is room again."""
    ballast = "/var/lib/postgresql/data/ballast"
    shell = ("exec", "-T", "postgres", "sh", "-c")
    compose.run(*shell, f"cat /dev/zero > {ballast} || true")
    time.sleep(CUT_SECONDS)
    with suppress(DockerFailed):
        # A new segment of the log can't be made: PostgreSQL ends itself.
        compose.sql("SELECT pg_switch_wal(); CREATE TABLE more AS SELECT 1")
    time.sleep(CUT_SECONDS)
    compose.remove_file("postgres", ballast)
    compose.wait_healthy("postgres")


FULL_DISK = "PostgreSQL's disk is full"
"""Needs loadtest/small-disk.yml."""

EVENTS: Mapping[str, Event] = {
    "scale redirector 1 → 4 → 1": scaled,
    **{f"rolling update of {name}": rolled(name) for name in ("redirector", "api", "worker")},
    **{
        f"kill -9 {name}": killed(name)
        for name in ("redirector", "api", "worker", "redis", "postgres", "nginx", "prometheus")
    },
    **{
        f"{name} cut off from both stores": cut_off(name)
        for name in ("redirector", "api", "worker")
    },
    **{f"{name} cut off from everything": cut_off(name) for name in ("postgres", "redis")},
    "PostgreSQL restarted": restarted("postgres"),
    "Redis restarted with its data lost": redis_loses_everything,
    FULL_DISK: disk_fills_up,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.resilience", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:5001", help="where nginx answers")
    parser.add_argument("--only", default="", help="events with this in their name")
    parser.add_argument("--project", default="hoplink", help="name of the Compose project")
    parser.add_argument(
        "--file", action="append", default=[], help="a file beside docker-compose.yml"
    )
    arguments = parser.parse_args()
    compose = Compose(arguments.project, arguments.file)
    print("| event | requests | good | longest gap, s | slowest, s | what clients saw |")
    print("|---|---|---|---|---|---|")
    try:
        for name, event in EVENTS.items():
            if arguments.only in name and (name != FULL_DISK or arguments.file):
                run(name, event, compose, arguments.url)
    except DockerFailed as error:
        print(f"hoplink: {error}", file=sys.stderr)
        return 1
    return 0


def run(name: str, event: Event, compose: Compose, url: str) -> None:
    """Lets an event happen under load, and prints a row for each kind of client."""
    links = sample()
    made: dict[str, str] = {}
    load = Traffic(url)
    load.add("follow", traffic.follow(links), clients=8, per_second=100)
    load.add("read", traffic.read([f"/users/{user}" for user in USERS]), clients=2, per_second=10)
    load.add("create", traffic.create(made), clients=2, per_second=5)
    with load:
        time.sleep(BEFORE_SECONDS)
        event(compose)
        time.sleep(AFTER_SECONDS)
    for kind, tally in load.tallies.items():
        good = tally.outcomes[traffic.GOOD]
        seen = ", ".join(f"{count} of {what}" for what, count in tally.failures.items())
        print(
            f"| {name}: {kind} | {tally.requests} | {100 * good / tally.requests:.2f} %"
            f" | {tally.gap:.1f} | {tally.slowest:.1f} | {seen or 'nothing'} |",
            flush=True,
        )
    lost = missing(made, url)
    if lost:
        print(f"| {name}: **links that were acknowledged and are gone** | | | | | {lost} |")


def sample() -> dict[str, str]:
    """Active links of the sample data, and where they lead."""
    with SEED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["short_code"]: row["original_url"] for row in rows if row["is_active"] == "True"}


def missing(made: Mapping[str, str], url: str) -> int:
    """How many of the links that were made don't lead where they should."""
    client = Client(url)
    follow_each = (traffic.follow({code: target}) for code, target in made.items())
    lost = sum(follow(client) != traffic.GOOD for follow in follow_each)
    client.close()
    return lost


if __name__ == "__main__":
    sys.exit(main())
