"""What the dashboards ask, with the variables filled in as Grafana does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from monitoring.grafana.boards import ALL
from monitoring.grafana.generate import FOLDER

DASHBOARDS: list[dict[str, Any]] = [
    json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
]
_EXPORTER_ROWS = {row.title for board in ALL for row in board.rows if not row.everywhere}


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel. `everywhere` is false where it needs an exporter."""

    board: str
    panel: str
    expr: str
    everywhere: bool


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that show something."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def queries(*, interval: str) -> Iterator[PanelQuery]:
    """All queries, of all services and instances, with rates over `interval`."""
    for board in DASHBOARDS:
        variables = {item["name"]: item["allValue"] for item in board["templating"]["list"]}
        everywhere = True
        for panel in board["panels"]:
            if panel["type"] == "row":
                everywhere = panel["title"] not in _EXPORTER_ROWS
                continue
            for target in panel["targets"]:
                expr = target["expr"].replace("$__rate_interval", interval)
                for name, value in variables.items():
                    expr = expr.replace(f"${name}", value)
                yield PanelQuery(board["title"], panel["title"], expr, everywhere)
