"""Alertmanager as it is set up: what it sends, what it silences, and drills that go its way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.settings import AlertSettings
from tests.support.mail import MailServer, mail_server, text_of
from tests.support.monitoring import AlertmanagerProcess
from tests.support.processes import Log, inherited_environ
from tests.support.services import ROOT, get, http_client
from tests.support.waiting import wait_for

FreePort = Callable[[], int]

pytestmark = pytest.mark.xdist_group("alertmanager")


@pytest.fixture(scope="module")
def mail(free_port: FreePort) -> Iterator[MailServer]:
    with mail_server(free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def alertmanager(
    mail: MailServer,
    server_folder: Path,
    free_port: FreePort,
    watch_log: Callable[[Log], None],
) -> Iterator[AlertmanagerProcess]:
    settings = AlertSettings.from_env({**mail.settings, "ALERT_INTERVAL_SECONDS": "1"})
    process = AlertmanagerProcess(server_folder / "alertmanager", free_port(), settings)
    watch_log(process.log)
    try:
        yield process.start()
    finally:
        process.kill()


@pytest.fixture(scope="module")
def without_email(
    server_folder: Path, free_port: FreePort, watch_log: Callable[[Log], None]
) -> Iterator[AlertmanagerProcess]:
    folder = server_folder / "alertmanager without email"
    process = AlertmanagerProcess(folder, free_port(), AlertSettings())
    watch_log(process.log)
    try:
        yield process.start()
    finally:
        process.kill()


@pytest.fixture(autouse=True)
def _empty_mailbox(mail: MailServer) -> Iterator[None]:
    yield
    mail.emails.clear()
    mail.recipients.clear()
    mail.accepts = True


def test_drills_arrive_marked_and_are_resolved(
    alertmanager: AlertmanagerProcess, mail: MailServer
) -> None:
    done = _drill("--url", alertmanager.url)

    assert done.returncode == 0, done.stdout
    subjects = {email["Subject"] for email in mail.emails}
    assert subjects == {
        f"[{status} page] Hoplink: {drill}"
        for status in ("FIRING", "RESOLVED")
        for drill in (
            "ServiceDown: DRILL: PostgreSQL is unreachable",
            "HighErrorRate: DRILL: More than 10 % of requests fail",
        )
    }
    assert set(map(tuple, mail.recipients)) == {("sre@example.com", "boss@example.com")}
    for kind in ("plain", "html"):
        text = text_of(mail.emails[0], kind)
        assert "Nothing is wrong." in text
        assert "docs/RUNBOOK.md#" in text
        assert "Since" in text
    assert _alerts(alertmanager) == []
    assert "email is on" in done.stdout


def test_one_alert_can_be_drilled_alone(without_email: AlertmanagerProcess) -> None:
    done = _drill("--url", without_email.url, "--service-down")

    assert done.returncode == 0, done.stdout
    assert "active in Alertmanager: ServiceDown\n" in done.stdout


def test_a_real_alert_has_an_email_of_its_own(
    alertmanager: AlertmanagerProcess, mail: MailServer
) -> None:
    real: dict[str, object] = {
        "labels": {"alertname": "ServiceDown", "severity": "page"},
        "annotations": {
            "summary": "<b>real</b>",
            "description": "d",
            "runbook_url": "https://docs.example.com/RUNBOOK.md#servicedown",
        },
    }
    _post(alertmanager, real)

    assert _drill("--url", alertmanager.url, "--service-down").returncode == 0

    email = mail.wait_for("[FIRING page] Hoplink: ServiceDown: <b>real</b>")
    page = text_of(email, "html")
    assert 'href="https://docs.example.com/RUNBOOK.md#servicedown"' in page
    assert "<b>real" not in page
    assert "DRILL" not in page
    assert [alert["labels"] for alert in _alerts(alertmanager)] == [real["labels"]]
    _post(alertmanager, real | {"endsAt": datetime.now(UTC).isoformat()})
    mail.wait_for("[RESOLVED page] Hoplink: ServiceDown: <b>real</b>")


Alert = tuple[str, dict[str, str]]

OUTAGE: Alert = ("ServiceDown", {})
DRILL: Alert = ("ServiceDown", {"drill": "true"})
CONSEQUENCES: tuple[Alert, ...] = (
    ("WorkerInactive", {}),
    ("BreakerOpen", {"store": "database"}),
    ("RedirectErrorBudgetFast", {}),
)
NO_CONSEQUENCES: tuple[Alert, ...] = (
    ("HighErrorRate", {}),
    ("RedisDown", {}),
    ("BreakerOpen", {"store": "redis"}),
    ("ServiceMissing", {"job": "api"}),
)


@pytest.mark.parametrize(
    ("cause", "alert", "silenced"),
    [
        *((OUTAGE, alert, True) for alert in CONSEQUENCES),
        *((OUTAGE, alert, False) for alert in NO_CONSEQUENCES),
        *((DRILL, alert, False) for alert in CONSEQUENCES),
        (("HighErrorRate", {}), OUTAGE, False),
        (("ServiceMissing", {"job": "api"}), ("TargetMissing", {"job": "api"}), True),
        (("ServiceMissing", {"job": "api"}), ("TargetMissing", {"job": "worker"}), False),
    ],
)
def test_what_follows_from_something_worse_is_silenced(
    without_email: AlertmanagerProcess,
    cause: Alert,
    alert: Alert,
    silenced: bool,
) -> None:
    posted = [{"labels": {"alertname": name, **labels}} for name, labels in (cause, alert)]
    for one in posted:
        _post(without_email, one)
    try:
        found = wait_for(
            lambda: [one for one in _alerts(without_email) if one["labels"] == posted[1]["labels"]],
            "the alert",
        )
        assert bool(found[0]["status"]["inhibitedBy"]) is silenced
    finally:
        for one in posted:
            _post(without_email, one | {"endsAt": datetime.now(UTC).isoformat()})
        wait_for(lambda: not _alerts(without_email), "the alerts to end")


def test_a_mail_server_that_refuses_fails_the_drill_and_nothing_stays(
    alertmanager: AlertmanagerProcess, mail: MailServer
) -> None:
    mail.accepts = False

    done = _drill("--url", alertmanager.url, "--high-error-rate")

    assert done.returncode == 1
    assert "FAILED: email that says firing: the mail server can't be reached or refused it" in (
        done.stdout
    )
    assert not [alert for alert in _alerts(alertmanager) if "drill" in alert["labels"]]
    # Alertmanager goes on trying to send; the next drill isn't kept from its emails by that.
    mail.accepts = True
    drill = "Hoplink: HighErrorRate: DRILL: More than 10 % of requests fail"
    mail.wait_for(f"[FIRING page] {drill}")
    again = _drill("--url", alertmanager.url, "--high-error-rate")
    assert again.returncode == 0, again.stdout
    wait_for(
        lambda: [email["Subject"] for email in mail.emails].count(f"[RESOLVED page] {drill}") == 2,
        "both to be told as resolved",
    )


def test_without_email_it_says_so_and_succeeds(without_email: AlertmanagerProcess) -> None:
    done = _drill("--url", without_email.url)

    assert done.returncode == 0, done.stdout
    assert "email is off" in done.stdout
    assert "resolved" in done.stdout


def test_no_alertmanager_is_one_line(free_port: FreePort) -> None:
    done = _drill("--url", f"http://127.0.0.1:{free_port()}")

    assert done.returncode == 2
    assert done.stdout.startswith("fire drill: no Alertmanager at http://127.0.0.1:")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def _drill(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitoring.fire_drill", *arguments],
        cwd=ROOT,
        env=inherited_environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def _post(alertmanager: AlertmanagerProcess, alert: Mapping[str, object]) -> None:
    with http_client(alertmanager.url) as client:
        assert client.post("/api/v2/alerts", json=[alert]).status_code == 200


def _alerts(alertmanager: AlertmanagerProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get(f"{alertmanager.url}/api/v2/alerts").json()
    return found
