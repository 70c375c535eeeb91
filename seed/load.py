"""Loads the sample data into a running Hoplink: `python -m seed.load [--url http://...]`.

It may be run any number of times: what is there already is left alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

FOLDER = Path(__file__).parent
RUN_FILE = FOLDER.parent / ".data" / "run.json"
TABLES = ("users", "urls", "events")
"""In this order: each refers to the ones before it."""
TIMEOUT_SECONDS = 120


class LoadError(Exception):
    """The data could not be loaded; the message says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m seed.load", description="Load sample data.")
    parser.add_argument("--url", help="where Hoplink answers; by default what `make run` started")
    url = parser.parse_args(arguments).url
    try:
        load(url or front_of_the_running_stack())
    except LoadError as error:
        print(f"hoplink: {error}", file=sys.stderr)
        return 1
    return 0


def front_of_the_running_stack() -> str:
    try:
        return str(json.loads(RUN_FILE.read_text())["front"])
    except (OSError, ValueError, KeyError):
        raise LoadError("nothing is running; start it by `make run`, or give --url") from None


def load(url: str) -> None:
    """Posts the files one after the other and prints what became of them."""
    for table in TABLES:
        print(f"{table:<7}", end="", flush=True)
        summary = post(f"{url.rstrip('/')}/{table}/bulk", (FOLDER / f"{table}.csv").read_bytes())
        print(
            f"{summary['imported']:>6} imported {summary['skipped']:>6} there already"
            f" {summary['error_count']:>6} refused"
        )
        for error in summary["errors"][:5]:
            print(f"        row {error['row']}: {error['error']}")
        if summary["error_count"]:
            raise LoadError(f"{table}.csv does not fit what is there already; see above")


def post(url: str, csv: bytes) -> Any:
    request = Request(url, csv, {"Content-Type": "text/csv"})  # noqa: S310  # a URL of our own
    try:
        with urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return json.load(response)
    except HTTPError as error:
        raise LoadError(f"{url} answered {error.code}: {error.read(500).decode()}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise LoadError(
            f"{url} does not answer ({error}); is it running? `make run` starts it"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
