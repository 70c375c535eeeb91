"""Prometheus's configuration, rendered from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.prometheus.render import CONFIG, RULES, render
from shared.settings import AlertSettings
from tests.support.monitoring import run

NASTY = "a\"b'c$HOME ${INTERVAL_SECONDS} {{ .Status }} \\n \u00e9 #: - x"


def _global(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / CONFIG).read_text())["global"])


@pytest.mark.parametrize("settings", [{}, {"RUNBOOK_URL": NASTY, "ALERT_INTERVAL_SECONDS": "60"}])
def test_prometheus_accepts_it_with_its_rules(tmp_path: Path, settings: dict[str, str]) -> None:
    render(AlertSettings.from_env(settings), tmp_path)

    run("promtool", "check", "config", tmp_path / CONFIG)
    assert {path.name for path in (tmp_path / "rules").iterdir()} == {
        path.name for path in RULES.iterdir()
    }


def test_a_rule_that_is_gone_is_not_evaluated_any_more(tmp_path: Path) -> None:
    old = tmp_path / "rules" / "old.yml"
    old.parent.mkdir()
    old.touch()

    render(AlertSettings(), tmp_path)

    assert not old.exists()


@pytest.mark.parametrize(("interval", "timeout"), [(1, "1s"), (5, "5s"), (60, "5s")])
def test_it_looks_as_often_as_the_setting_says(tmp_path: Path, interval: int, timeout: str) -> None:
    render(AlertSettings(alert_interval_seconds=interval), tmp_path)

    given = _global(tmp_path)
    assert given["scrape_interval"] == given["evaluation_interval"] == f"{interval}s"
    assert given["scrape_timeout"] == timeout


def test_links_lead_to_the_runbook_as_it_was_given(tmp_path: Path) -> None:
    render(AlertSettings(runbook_url=NASTY), tmp_path)

    assert _global(tmp_path)["external_labels"] == {"runbook": NASTY}
