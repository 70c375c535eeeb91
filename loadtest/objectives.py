"""What a load test has to show, and whose machine it may load."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


class HostRefused(Exception):
    """The address is not to be loaded; the message says why, and what to do."""


@dataclass(frozen=True)
class Objective:
    """What is asked of one kind of request, as the load test sees it."""

    p99_ms: float
    failed: float
    """Largest part of the requests that may fail."""


@dataclass(frozen=True)
class Measured:
    """What became of one kind of request."""

    name: str
    requests: int
    failures: int
    p99_ms: float


OBJECTIVES: Mapping[str, Objective] = {
    "redirect": Objective(p99_ms=100, failed=0.001),
    "unknown code": Objective(p99_ms=250, failed=0.001),
    "read": Objective(p99_ms=500, failed=0.001),
    "write": Objective(p99_ms=1_000, failed=0.001),
    "statistics": Objective(p99_ms=1_000, failed=0.001),
}


def judge(measured: Iterable[Measured]) -> list[str]:
    """What falls short of the objectives, in words; empty when all are met."""
    results = [each for each in measured if each.requests]
    if not results:
        return ["nothing was measured"]
    problems = []
    for result in results:
        objective = OBJECTIVES.get(result.name)
        if objective is None:
            problems.append(f"{result.name}: no objective is stated for it")
            continue
        failed = result.failures / result.requests
        if failed > objective.failed:
            problems.append(f"{result.name}: {failed:.2%} failed, {objective.failed:.2%} may")
        if result.p99_ms > objective.p99_ms:
            allowed = f"{objective.p99_ms:.0f} allowed"
            problems.append(f"{result.name}: p99 is {result.p99_ms:.0f} ms, {allowed}")
    return problems


def check_host(url: str, allowed: str) -> None:
    """Raises HostRefused unless `url` is on this machine, or on the host named by `allowed`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HostRefused(f"HOST={url} is no address like http://localhost:5001")
    if parts.hostname != allowed and not _is_loopback(parts.hostname):
        raise HostRefused(
            f"{parts.hostname} is not this machine; if it is yours to load, say so: "
            f"make loadtest HOST={url} ALLOW_HOST={parts.hostname}"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
