"""The rules of Prometheus: what promtool says of them, and what they share with the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.prometheus.render import CONFIG, render
from shared import metrics
from shared.alerts import HIGH_ERROR_RATE, MIN_REQUESTS, WINDOW_SECONDS
from shared.live_stats import MONITORING
from shared.settings import AlertSettings
from tests.support.monitoring import run

ROOT = Path(__file__).resolve().parents[3]
PROMETHEUS = ROOT / "monitoring" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOK = (ROOT / "docs" / "RUNBOOK.md").read_text()
INHIBITION = (ROOT / "monitoring" / "alertmanager" / "alertmanager.yml.template").read_text()


def _rules() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


EXPRESSIONS = {rule.get("alert") or rule["record"]: rule["expr"] for rule in _rules()}
ALERTS = {rule["alert"]: rule for rule in _rules() if "alert" in rule}


def test_the_rules_pass_their_own_tests() -> None:
    run("promtool", "test", "rules", *TESTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested(name: str) -> None:
    assert any(re.search(rf"\b{name}\b", path.read_text()) for path in TESTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)

    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    assert "{{" in rule["annotations"]["description"], "it has no figure"
    link = rule["annotations"]["runbook_url"]
    assert link == "{{ $externalLabels.runbook }}#" + name.lower()
    assert section, f"docs/RUNBOOK.md has no section {name}"
    for part in ("**Means.**", "**Confirm.**", "**Do.**", "**Worked when**"):
        assert part in section[1], f"{name} doesn't say: {part}"


def test_the_runbook_describes_no_alert_that_is_gone() -> None:
    sections = set(re.findall(r"^## ([A-Z][a-z]+[A-Z]\w+)$", RUNBOOK, re.MULTILINE))

    assert sections == set(ALERTS)


def test_the_promised_alerts_have_the_thresholds_of_alert_status() -> None:
    expression = ALERTS["HighErrorRate"]["expr"]
    windows = {
        seconds * {"s": 1, "m": 60}[unit]
        for record in ("service:http_requests:increase2m", "service:http_errors:increase2m")
        for seconds, unit in (
            (int(number), unit)
            for number, unit in re.findall(r"(?:\[|offset )(\d+)([sm])", EXPRESSIONS[record])
        )
    }

    assert re.findall(r"> ([\d.]+)", expression) == [f"{HIGH_ERROR_RATE:.2f}"]
    assert re.findall(r">= (\d+)", expression) == [str(MIN_REQUESTS)]
    assert windows == {WINDOW_SECONDS}


def test_what_prometheus_scrapes_is_in_docker_compose(tmp_path: Path) -> None:
    render(AlertSettings(), tmp_path)
    config = yaml.safe_load((tmp_path / CONFIG).read_text())
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    hosts = {
        target.partition(":")[0]
        for job in [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
        for static in job.get("static_configs", ())
        for target in static["targets"]
    }
    names = {
        name
        for job in config["scrape_configs"]
        for discovery in job.get("dns_sd_configs", ())
        for name in discovery["names"]
    }

    assert names == {"redirector", "api", "worker"}
    assert (hosts | names) - {"localhost"} <= set(services)


def test_prometheus_understands_the_queries_of_the_runbook(tmp_path: Path) -> None:
    asked = re.findall(r"ask '([^']+)'", RUNBOOK)
    rules = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(asked)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": rules}]}))

    run("promtool", "check", "rules", file)

    assert len(asked) > 40


def test_the_promised_alert_leaves_out_what_live_statistics_leave_out() -> None:
    """What /alert-status says of requests is what the rule says."""
    for record in ("service:http_requests:increase2m", "service:http_errors:increase2m"):
        for left_out in re.findall(r'route!~"([^"]+)"', EXPRESSIONS[record]):
            assert all(re.fullmatch(left_out, route) for route in MONITORING)
            assert not re.fullmatch(left_out, "/{short_code}")
            assert not re.fullmatch(left_out, "/urls")


def test_what_silences_others_and_what_is_silenced_exists() -> None:
    named = re.findall(r'alertname=~?"([^"]+)"', INHIBITION)

    assert {name for names in named for name in names.split("|")} <= set(ALERTS)


def test_the_promised_alerts_are_never_silenced() -> None:
    silenced = re.findall(r"target_matchers:\s*(?:- )?\[?(.*)", INHIBITION)

    assert silenced
    assert not re.search(r"\b(ServiceDown|HighErrorRate)\b", " ".join(silenced))


def test_rules_read_only_metrics_that_services_have() -> None:
    declared = {
        declaration.name
        for declaration in vars(metrics).values()
        if isinstance(declaration, metrics.Declaration)
    }
    used = {
        name
        for expression in EXPRESSIONS.values()
        for name in re.findall(r"(?<![:\w])((?:hoplink|http|database|redis)_[a-z_]+)\b", expression)
    }

    ours = {name for name in used if not name.startswith("redis_memory")}
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in ours} <= declared
