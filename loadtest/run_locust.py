"""Runs locustfile.py against HOST in the shape SHAPE, without its web page: `make loadtest`."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from loadtest.objectives import HostRefused, check_host
from loadtest.shapes import SHAPES

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    host = os.environ.get("HOST") or "http://localhost:5001"
    shape = os.environ.get("SHAPE") or "smoke"
    if shape not in SHAPES:
        _refuse(f"SHAPE={shape} is none of {', '.join(SHAPES)}")
    try:
        check_host(host, os.environ.get("ALLOW_HOST", ""))
    except HostRefused as error:
        _refuse(str(error))
    reports = FOLDER / "reports"
    reports.mkdir(exist_ok=True)
    report = reports / f"{shape}-{datetime.now(UTC):%Y%m%d-%H%M%S}.html"
    print(f"{SHAPES[shape].what}, against {host}; report in {os.path.relpath(report)}", flush=True)
    os.environ["SHAPE"] = shape
    script = str(FOLDER / "locustfile.py")
    quietly = ["--headless", "--only-summary", "--loglevel", "WARNING"]
    command = [sys.executable, "-m", "locust", "--locustfile", script, *quietly]
    os.execv(sys.executable, [*command, "--host", host, "--html", str(report)])


def _refuse(reason: str) -> NoReturn:
    print(f"hoplink: {reason}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
