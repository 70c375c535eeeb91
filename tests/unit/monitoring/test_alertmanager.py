"""Alertmanager's configuration, rendered from the settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.alertmanager.render import CONFIG, render, said
from shared.settings import AlertSettings
from tests.support.monitoring import run
from tests.support.processes import inherited_environ
from tests.support.services import ROOT

MAIL = {
    "SMTP_HOST": "mail.example.com",
    "ALERT_EMAIL_FROM": "alerts@example.com",
    "ALERT_EMAIL_TO": "sre@example.com,boss@example.com",
}
NASTY = "a\"b'c$HOME ${TO} $$ %s %(x)s {{ .Status }} \\n \u00e9\U0001f600 #: - x"


def _email(folder: Path) -> dict[str, Any]:
    (receiver,) = yaml.safe_load((folder / CONFIG).read_text())["receivers"]
    (email,) = receiver["email_configs"]
    return dict(email)


@pytest.mark.parametrize("mail", [{}, MAIL, {**MAIL, "SMTP_USER": NASTY, "SMTP_PASSWORD": NASTY}])
def test_alertmanager_accepts_it(tmp_path: Path, mail: dict[str, str]) -> None:
    render(AlertSettings.from_env(mail), tmp_path)

    run("amtool", "check-config", tmp_path / CONFIG)


def test_values_arrive_as_they_were_given(tmp_path: Path) -> None:
    sender = '"a\'$TO ${TO} \\ %s" <alerts@example.com>'
    given = {**MAIL, "SMTP_USER": NASTY, "SMTP_PASSWORD": NASTY, "ALERT_EMAIL_FROM": sender}

    render(AlertSettings.from_env(given), tmp_path)

    email = _email(tmp_path)
    assert email["auth_username"] == NASTY
    assert email["from"] == sender
    assert email["to"] == "sre@example.com, boss@example.com"
    assert email["smarthost"] == "mail.example.com:587"
    assert email["require_tls"] is True
    assert Path(email["auth_password_file"]).read_text() == NASTY


def test_tls_is_left_out_only_by_the_setting_of_that_name(tmp_path: Path) -> None:
    render(AlertSettings.from_env({**MAIL, "SMTP_TLS": "false"}), tmp_path)

    assert _email(tmp_path)["require_tls"] is False


def test_an_address_of_ipv6_is_one(tmp_path: Path) -> None:
    render(AlertSettings.from_env({**MAIL, "SMTP_HOST": "::1", "SMTP_PORT": "25"}), tmp_path)

    assert _email(tmp_path)["smarthost"] == "[::1]:25"


def test_the_password_is_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    (tmp_path / "smtp_password").touch(mode=0o644)

    render(AlertSettings.from_env({**MAIL, "SMTP_PASSWORD": "s3cr3t"}), tmp_path)

    assert (tmp_path / "smtp_password").stat().st_mode & 0o777 == 0o600
    assert "s3cr3t" not in (tmp_path / CONFIG).read_text()


def test_times_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = AlertSettings(alert_interval_seconds=2, alert_cooldown_seconds=77)

    render(settings, tmp_path)

    route = yaml.safe_load((tmp_path / CONFIG).read_text())["route"]
    assert (route["group_wait"], route["group_interval"], route["repeat_interval"]) == (
        *("2s", "6s"),
        "77s",
    )


def test_it_says_in_one_line_that_email_is_off(tmp_path: Path) -> None:
    done = _render(tmp_path, SMTP_HOST="mail.example.com")

    assert done.returncode == 0
    assert done.stdout == (
        "hoplink: alerts are not sent by email (not set: ALERT_EMAIL_FROM, ALERT_EMAIL_TO)\n"
    )


def test_a_wrong_setting_is_named_and_no_password_shown(tmp_path: Path) -> None:
    done = _render(tmp_path, **MAIL, SMTP_PORT="no", SMTP_PASSWORD="s3cr3t")

    assert done.returncode == 2
    assert done.stderr.startswith("hoplink: setting SMTP_PORT: ")
    assert "s3cr3t" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_says_where_alerts_go() -> None:
    assert said(AlertSettings.from_env(MAIL)) == (
        "alerts go to sre@example.com, boss@example.com by mail.example.com"
    )


def _render(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "monitoring.alertmanager.render", folder],
        cwd=ROOT,
        env=inherited_environ() | settings,
        capture_output=True,
        text=True,
        check=False,
    )
