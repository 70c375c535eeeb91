"""Tries the way of an alert to people: `make fire-drill`.

Sends alerts that are marked as a drill through the real Alertmanager, waits until they are active
and their emails have left, resolves them, and waits for those emails. Nothing else is touched.

Exit status: 0 everything arrived; 1 it did not; 2 Alertmanager isn't there or refuses.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

T = TypeVar("T")

RUN_FILE = Path(__file__).resolve().parents[1] / ".data" / "run.json"
DEFAULT_URL = "http://127.0.0.1:9093"

DRILLS = {
    "ServiceDown": "PostgreSQL is unreachable",
    "HighErrorRate": "More than 10 % of requests fail",
}
"""The alerts that can be drilled and what they would say."""

ACTIVE_SECONDS = 10
EMAIL_SECONDS = 60
"""The longest waits: for Alertmanager itself, and for the mail server beyond its intervals."""


class DrillError(Exception):
    """Alertmanager can't be used; the message is one line."""


class Alertmanager:
    """The second version of Alertmanager's API, at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def post(self, alerts: Sequence[dict[str, Any]]) -> None:
        self._ask("/api/v2/alerts", json.dumps(alerts).encode())

    def active(self, drill: str) -> set[str]:
        """The names of alerts that fire in a drill; with "" of what is real."""
        wanted = urlencode({"filter": f'drill="{drill}"', "active": "true"})
        found = json.loads(self._ask(f"/api/v2/alerts?{wanted}"))
        return {alert["labels"]["alertname"] for alert in found}

    def config(self) -> str:
        """Its configuration, as it shows it: without secrets."""
        status = json.loads(self._ask("/api/v2/status"))
        return str(status["config"]["original"])

    def emails(self) -> tuple[int, int]:
        """How many it has tried to send since it started, and how many attempts failed."""
        metrics = self._ask("/metrics").decode()
        return (
            _total(metrics, "alertmanager_notification_requests_total"),
            _total(metrics, "alertmanager_notification_requests_failed_total"),
        )

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(  # noqa: S310  # whoever runs this gives the address
            self._url + path, data=body, headers={"Content-Type": "application/json"}
        )
        # Alertmanager is near; a proxy of the environment is not for it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=5) as answer:
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            raise DrillError(f"{self._url} refused {path}: {error.code} {error.reason}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise DrillError(f"no Alertmanager at {self._url}: {reason}") from error
        return content


class Drill:
    """One drill of the alerts `names`; `say` is told each step."""

    def __init__(
        self, alertmanager: Alertmanager, names: Sequence[str], say: Callable[[str], None]
    ) -> None:
        self._alertmanager = alertmanager
        self._names = names
        self._say = say
        self._started = datetime.now(UTC)
        # Not shared with an earlier drill: Alertmanager may still be trying to send for that one,
        # and would say nothing of alerts that it takes for the same.
        self._label = self._started.isoformat()

    def run(self) -> bool:
        """Whether everything arrived. Raises DrillError."""
        config = self._alertmanager.config()
        emails_on = "smarthost:" in config
        self._say(
            "email is on"
            if emails_on
            else "email is off: alerts stay in Alertmanager, see SMTP_HOST"
        )
        before = self._alertmanager.emails()
        try:
            self._send(ends_in=timedelta(minutes=10))
            if not self._wait(lambda: self._active() == set(self._names), ACTIVE_SECONDS):
                self._say("FAILED: Alertmanager took the alerts, but doesn't show them as active")
                return False
            self._say(f"active in Alertmanager: {', '.join(self._names)}")
            wait = _seconds("group_wait", config)
            arrived = not emails_on or self._emails_left("firing", before, wait)
        finally:
            # Also of a drill that is interrupted nothing should stay.
            before = self._alertmanager.emails()
            self._send(ends_in=timedelta())
        gone = self._wait(lambda: not self._active(), ACTIVE_SECONDS)
        self._say("resolved" if gone else "FAILED: the alerts stay active")
        if emails_on and arrived:
            arrived = self._emails_left("resolved", before, _seconds("group_interval", config))
        return gone and arrived

    def _send(self, ends_in: timedelta) -> None:
        now = datetime.now(UTC)
        self._alertmanager.post([self._alert(name, now + ends_in) for name in self._names])

    def _alert(self, name: str, ends: datetime) -> dict[str, Any]:
        return {
            "labels": {"alertname": name, "severity": "page", "drill": self._label},
            "annotations": {
                "summary": f"DRILL: {DRILLS[name]}",
                "description": "This is a drill, started by hand. Nothing is wrong.",
                "runbook_url": f"docs/RUNBOOK.md#{name.lower()}",
            },
            "startsAt": self._started.isoformat(),
            "endsAt": ends.isoformat(),
        }

    def _active(self) -> set[str]:
        return self._alertmanager.active(self._label) & set(self._names)

    def _emails_left(self, kind: str, before: tuple[int, int], wait: float) -> bool:
        """Waits for an email of each alert."""
        # Alertmanager counts emails, not whose they are: beside real ones only time is sure.
        busy = bool(self._alertmanager.active(""))
        own_is_due = time.monotonic() + (wait + 1 if busy else 0)
        tried_before, failed_before = before

        def outcome() -> str:
            tried, failed = self._alertmanager.emails()
            if failed > failed_before:
                return "refused"
            enough = tried >= tried_before + len(self._names) and time.monotonic() >= own_is_due
            return "taken" if enough else ""

        came = self._wait(outcome, wait + EMAIL_SECONDS)
        if came == "taken":
            self._say(f"the mail server took the emails that say {kind}")
            return True
        reason = (
            "the mail server can't be reached or refused it" if came else "none was sent in time"
        )
        self._say(f"FAILED: email that says {kind}: {reason}; Alertmanager's log says more")
        return False

    @staticmethod
    def _wait(condition: Callable[[], T], seconds: float) -> T:
        """The first truthy value of `condition`, or its last after so long."""
        deadline = time.monotonic() + seconds
        while not (value := condition()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return value


def _total(metrics: str, name: str) -> int:
    pattern = rf'^{name}{{[^}}]*integration="email"[^}}]*}} (\S+)$'
    return sum(int(float(value)) for value in re.findall(pattern, metrics, re.MULTILINE))


def _seconds(interval: str, config: str) -> float:
    """A setting of how long Alertmanager may collect before it sends an email; the longest."""
    units = {"s": 1, "m": 60, "h": 3600}
    return max(
        (
            sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smh])", found))
            for found in re.findall(rf"{interval}: (\S+)", config)
        ),
        default=300,
    )


def _default_url() -> str:
    """Alertmanager of the stack that `make run` started, or where it is otherwise."""
    try:
        return str(json.loads(RUN_FILE.read_text())["alertmanager"]["url"])
    except (OSError, ValueError, KeyError):
        return DEFAULT_URL


def _say(text: str) -> None:
    print(f"fire drill: {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--service-down", action="store_true", help="drill ServiceDown")
    parser.add_argument("--high-error-rate", action="store_true", help="drill HighErrorRate")
    parser.add_argument("--url", default=_default_url(), help="Alertmanager (default: %(default)s)")
    given = parser.parse_args(arguments)
    chosen = {"ServiceDown": given.service_down, "HighErrorRate": given.high_error_rate}
    names = [name for name, wanted in chosen.items() if wanted] or list(DRILLS)
    try:
        return 0 if Drill(Alertmanager(given.url), names, _say).run() else 1
    except DrillError as error:
        _say(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
