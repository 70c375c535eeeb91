"""The dashboards: what Grafana is given is what the sources say, and Prometheus can parse it."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.grafana import generate
from tests.support.grafana import DASHBOARDS, panels, queries
from tests.support.monitoring import run

GRAFANA = generate.FOLDER.parent


def test_the_files_are_those_of_the_sources() -> None:
    files = generate.files()

    assert set(generate.FOLDER.iterdir()) == set(files), "run make docs"
    for path, content in files.items():
        assert path.read_text() == content, f"run make docs: {path.name} is old"


def test_prometheus_parses_every_query(tmp_path: Path) -> None:
    """A query is a rule without a name, which promtool checks without a server."""
    rules = [
        {"record": f"query_{number}", "expr": query.expr}
        for number, query in enumerate(queries(interval="1m"))
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    run("promtool", "check", "rules", file)

    assert len(rules) > 80


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: str(board["uid"]))
def test_a_dashboard_can_be_read(board: dict[str, Any]) -> None:
    assert board["uid"].startswith("hoplink-")
    assert [variable["name"] for variable in board["templating"]["list"]] == ["service", "instance"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels(board):
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: str(board["uid"]))
def test_no_panel_covers_another(board: dict[str, Any]) -> None:
    for one, other in combinations([panel["gridPos"] for panel in board["panels"]], 2):
        assert one["x"] + one["w"] <= 24
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)


def test_the_data_source_is_the_one_that_panels_name() -> None:
    provisioned = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    (source,) = provisioned["datasources"]

    assert source["uid"] == "prometheus"
    assert {
        target["datasource"]["uid"]
        for board in DASHBOARDS
        for panel in panels(board)
        for target in panel["targets"]
    } == {"prometheus"}
    assert '"uid": "prometheus"' in json.dumps(DASHBOARDS[0]["templating"])
