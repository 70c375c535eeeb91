"""wrk, the load generator: https://github.com/wg/wrk"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.local.ports import HOST
from loadtest.workload import CODE_LENGTH

CONNECTIONS = 64
HOW_TO_GET = "wrk is missing: apt-get install wrk, dnf install wrk, or brew install wrk"
_SCRIPT = Path(__file__).with_name("redirects.lua")


class WrkMissing(Exception):
    """The message says how to get it."""


class LoadFailed(Exception):
    """Requests failed or got answers that the case doesn't allow."""


@dataclass(frozen=True)
class Load:
    """What wrk saw in one run. Latencies in milliseconds."""

    requests: int
    seconds: float
    p50: float
    p99: float
    not_found: int
    """Answers from 400 up."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


class Wrk:
    """One thread and 64 connections kept alive."""

    def __init__(self) -> None:
        program = shutil.which("wrk")
        if program is None:
            raise WrkMissing(HOW_TO_GET)
        self._program = program

    def run(
        self, port: int, seconds: int, *, codes: Path, start: int, around: Path, pause_ms: int = 0
    ) -> Load:
        """Each connection waits `pause_ms` between two requests. Raises LoadFailed."""
        done = subprocess.run(
            [
                self._program,
                *("--threads", "1", "--connections", str(CONNECTIONS)),
                *("--duration", f"{seconds}s", "--timeout", "5s"),
                *("--script", str(_SCRIPT), f"http://{HOST}:{port}/", "--"),
                *(str(codes), str(CODE_LENGTH), str(start), str(around), str(pause_ms)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise LoadFailed(f"wrk ended with {done.returncode}: {done.stdout}{done.stderr}")
        said = json.loads(done.stdout.splitlines()[-1])
        if said["failed"]:
            raise LoadFailed(f"{said['failed']} requests to port {port} failed: {done.stdout}")
        return Load(
            requests=said["requests"],
            seconds=said["microseconds"] / 1e6,
            p50=said["p50"] / 1e3,
            p99=said["p99"] / 1e3,
            not_found=said["not_found"],
        )
