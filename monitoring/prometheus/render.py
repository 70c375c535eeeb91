"""Writes Prometheus's configuration from the settings.

`python -m monitoring.prometheus.render FOLDER`: the folder then holds all that Prometheus reads:
prometheus.yml and rules.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from monitoring.rendering import command, filled, quoted
from shared.settings import AlertSettings

CONFIG = "prometheus.yml"
RULES = Path(__file__).resolve().parent / "rules"
_TEMPLATE = RULES.with_name("prometheus.yml.template")

SCRAPE_SECONDS = 5
"""The longest that a scrape may take, where the interval isn't shorter still."""


def render(settings: AlertSettings, folder: Path) -> None:
    """Fills `folder`, which is there; raises OSError when it can't."""
    shutil.rmtree(folder / RULES.name, ignore_errors=True)
    shutil.copytree(RULES, folder / RULES.name)
    interval = settings.alert_interval_seconds
    config = filled(
        _TEMPLATE,
        INTERVAL_SECONDS=str(interval),
        TIMEOUT_SECONDS=str(min(interval, SCRAPE_SECONDS)),
        RUNBOOK_URL=quoted(settings.runbook_url),
    )
    (folder / CONFIG).write_text(config)


def said(settings: AlertSettings) -> str:
    """In one line, how often Prometheus looks."""
    return f"Prometheus looks every {settings.alert_interval_seconds} s"


if __name__ == "__main__":
    sys.exit(command(render, said))
