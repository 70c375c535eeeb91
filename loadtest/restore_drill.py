"""Backs a stack up, wipes it, restores it, and compares: `python -m loadtest.restore_drill`.

Needs a stack of Docker Compose on this machine that holds nothing worth keeping, with sample data
and clicks in it. Exit status 1: something is not as it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtest.containers import ROOT, Compose
from loadtest.traffic import Client

SCRIPTS = ROOT / "infra" / "docker"
TABLES = ("users", "urls", "events", "clicks", "click_hours", "click_days", "click_counts")
QUIET_SECONDS = 10
"""Enough for the clicks so far to be recorded."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.restore_drill", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:5001", help="where nginx answers")
    url = parser.parse_args().url
    compose = Compose()
    led_to = targets(url)
    time.sleep(QUIET_SECONDS)
    before = {**state(url, compose), "links followed": led_to}
    with tempfile.TemporaryDirectory() as folder:
        backup = Path(folder) / "backup"
        seconds = timed(str(SCRIPTS / "backup.sh"), str(backup))
        print(f"backup: {seconds:.1f} s, {backup.stat().st_size / 2**20:.1f} MiB")
        compose.run("down", "--volumes")
        compose.run("up", "-d", "--wait")
        print(f"restore: {timed(str(SCRIPTS / 'restore.sh'), str(backup)):.1f} s")
    # Following links makes clicks: last.
    after = {**state(url, compose), "links followed": targets(url)}
    for name, was in before.items():
        print(
            f"{name}: {was if isinstance(was, int) else len(was)}, {differences(was, after[name])}"
        )
    return 0 if before == after and works(url) else 1


def state(url: str, compose: Compose) -> dict[str, Any]:
    """The rows of each table, and the statistics of the busiest links."""
    counting = " UNION ALL ".join(f"SELECT count(*) FROM {table}" for table in TABLES)  # noqa: S608
    rows = map(int, compose.sql(counting).split())
    client = Client(url)
    busiest = json.loads(client.ask("GET", "/urls?sort=clicks&per_page=100").body)
    statistics = {
        link["short_code"]: json.loads(client.ask("GET", f"/urls/{link['id']}/stats").body)
        for link in busiest
    }
    client.close()
    return {**dict(zip(TABLES, rows, strict=True)), "statistics of links": statistics}


def targets(url: str) -> dict[str, str]:
    """Where all active links lead."""
    client = Client(url)
    found = {link["short_code"]: target(client, link["short_code"]) for link in links(client)}
    client.close()
    return found


def links(client: Client) -> Iterator[dict[str, Any]]:
    """All active links."""
    path = "/urls?is_active=true&per_page=1000"
    while path:
        answer = client.ask("GET", path)
        yield from json.loads(answer.body)
        _, _, rest = answer.headers.get("link", "").partition("<")
        path = rest.partition(">")[0]


def target(client: Client, code: str) -> str:
    answer = client.ask("GET", f"/{code}")
    return answer.headers.get("location", str(answer.status))


def works(url: str) -> bool:
    """Whether a new link can be made, changed and followed, and no id is given out twice."""
    client = Client(url)
    made = client.ask("POST", "/urls", {"original_url": "https://example.com/a"})
    link = json.loads(made.body)
    old = target(client, link["short_code"])
    client.ask("PUT", f"/urls/{link['id']}", {"original_url": "https://example.com/b"})
    deadline = time.monotonic() + 5
    while (new := target(client, link["short_code"])) == old and time.monotonic() < deadline:
        time.sleep(0.1)
    client.close()
    print(f"a new link: made with {made.status}, changed {'and seen' if new != old else 'UNSEEN'}")
    return made.status == 201 and new != old


def differences(was: object, now: object) -> str:
    if isinstance(was, dict) and isinstance(now, dict):
        wrong = sum(now.get(key) != value for key, value in was.items())
        return f"{wrong} differ" if wrong or len(was) != len(now) else "all the same"
    return "the same" if was == now else f"now {now}"


def timed(*command: str) -> float:
    started = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
