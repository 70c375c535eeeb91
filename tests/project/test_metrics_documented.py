"""Metrics and their documentation say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from infra.metrics_docs import PAGE, tables
from infra.settings_docs import with_generated_part
from shared.metrics import ALL, DECLARATIONS, VERSION

ROOT = Path(__file__).resolve().parents[2]


def test_documentation_of_metrics_is_current() -> None:
    """Fails when a metric was added, removed or changed without `make docs`."""
    text = PAGE.read_text()
    assert text == with_generated_part(text, tables())


def test_each_metric_has_a_name_as_prometheus_likes_it() -> None:
    names = [metric.name for metric in DECLARATIONS]
    assert len(set(names)) == len(names)
    for metric in DECLARATIONS:
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert set(metric.of) <= set(ALL)


def test_the_version_in_metrics_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
