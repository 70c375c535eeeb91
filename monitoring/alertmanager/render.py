"""Writes Alertmanager's configuration from the settings.

`python -m monitoring.alertmanager.render FOLDER`: the folder then holds all that Alertmanager
reads: alertmanager.yml, email.tmpl and smtp_password. Alertmanager has to see it under the same
path. Run it as the account that Alertmanager runs as: nobody else may read the password.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from monitoring.rendering import command, filled, quoted
from shared.settings import AlertSettings

CONFIG = "alertmanager.yml"
_EMAIL_TEMPLATE = "email.tmpl"
_PASSWORD = "smtp_password"  # noqa: S105  # the name of its file
_SOURCE = Path(__file__).resolve().parent

UPDATE_INTERVALS = 3
"""How many intervals of Prometheus pass before an email tells what changed since the last."""


def render(settings: AlertSettings, folder: Path) -> None:
    """Fills `folder`, an absolute path that is there; raises OSError when it can't."""
    password_file = folder / _PASSWORD
    _write_secret(password_file, settings.smtp_password.get_secret_value())
    shutil.copyfile(_SOURCE / _EMAIL_TEMPLATE, folder / _EMAIL_TEMPLATE)
    (folder / CONFIG).write_text(_config(settings, password_file))


def said(settings: AlertSettings) -> str:
    """In one line, where alerts go; no secrets."""
    if settings.email_configured:
        return f"alerts go to {settings.alert_email_to} by {settings.smtp_host}"
    needed = ("smtp_host", "alert_email_from", "alert_email_to")
    missing = ", ".join(name.upper() for name in needed if not getattr(settings, name))
    return f"alerts are not sent by email (not set: {missing})"


def _config(settings: AlertSettings, password_file: Path) -> str:
    return filled(
        _SOURCE / "alertmanager.yml.template",
        WAIT_SECONDS=str(settings.alert_interval_seconds),
        UPDATE_SECONDS=str(settings.alert_interval_seconds * UPDATE_INTERVALS),
        COOLDOWN_SECONDS=str(settings.alert_cooldown_seconds),
        EMAIL_CONFIGS=_email(settings, password_file) if settings.email_configured else "[]",
    )


def _email(settings: AlertSettings, password_file: Path) -> str:
    host = f"[{settings.smtp_host}]" if ":" in settings.smtp_host else settings.smtp_host
    email = filled(
        _SOURCE / "email.yml.template",
        TO=quoted(settings.alert_email_to),
        FROM=quoted(settings.alert_email_from),
        SMARTHOST=quoted(f"{host}:{settings.smtp_port}"),
        USER=quoted(settings.smtp_user),
        PASSWORD_FILE=quoted(str(password_file)),
        TLS=quoted(settings.smtp_tls),
    )
    return email.rstrip()


def _write_secret(path: Path, secret: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)


if __name__ == "__main__":
    sys.exit(command(render, said))
