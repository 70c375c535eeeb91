"""What a dashboard is made of, and how it becomes the JSON that Grafana reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}

GREEN, YELLOW, RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Query:
    """One line, or several that `legend` tells apart."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A graph over time, or with `stat` a single figure."""

    title: str
    description: str
    unit: str
    """As Grafana calls it."""
    queries: tuple[Query, ...]
    stat: bool = False
    stacked: bool = False
    at_most_one: bool = False
    """The scale ends at 1."""
    thresholds: tuple[tuple[float, str], ...] = ()
    """From which value on which colour holds; below all of them it is green."""
    words: tuple[tuple[int, str, str], ...] = ()
    """Values that are shown as a word, and its colour."""
    width: int = 8

    @property
    def height(self) -> int:
        return 4 if self.stat else 8


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]
    everywhere: bool = True
    """False: only where there are exporters of the stores, which `make run` has not."""


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    description: str
    jobs: tuple[str, ...]
    """Whose metrics it shows; the variables `service` and `instance` choose among them."""
    rows: tuple[Row, ...]

    def json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["hoplink"],
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "graphTooltip": 1,
            "schemaVersion": 39,
            "version": 1,
            "editable": False,
            "links": [
                {
                    "type": "dashboards",
                    "tags": ["hoplink"],
                    "title": "Dashboards",
                    "asDropdown": False,
                    "includeVars": False,
                    "keepTime": True,
                    "targetBlank": False,
                    "icon": "external link",
                    "tooltip": "",
                    "url": "",
                }
            ],
            "annotations": {"list": [_ALERTS]},
            "templating": {"list": list(self._variables())},
            "panels": list(self._placed()),
        }

    def _variables(self) -> Iterator[dict[str, Any]]:
        jobs = "|".join(self.jobs)
        yield _variable("service", "Service", f'label_values(up{{job=~"{jobs}"}}, job)')
        yield _variable("instance", "Instance", 'label_values(up{job=~"$service"}, instance)')

    def _placed(self) -> Iterator[dict[str, Any]]:
        number, top = 0, 0
        for row in self.rows:
            number += 1
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
                "panels": [],
            }
            top, left, height = top + 1, 0, 0
            for panel in row.panels:
                number += 1
                if left + panel.width > WIDTH:
                    top, left, height = top + height, 0, 0
                place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
                yield {"id": number, "gridPos": place, **_panel(panel)}
                left, height = left + panel.width, max(height, panel.height)
            top += height


_ALERTS = {
    "name": "Alerts",
    "datasource": DATASOURCE,
    "enable": True,
    "iconColor": RED,
    "expr": 'ALERTS{alertstate="firing"}',
    "titleFormat": "{{alertname}}",
    "tagKeys": "severity,job,instance",
    "useValueForTime": False,
    "step": "30s",
}


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": "All", "value": "$__all"},
    }


def _panel(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "thresholds" if panel.stat else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": [
                {"value": None, "color": GREEN},
                *({"value": value, "color": color} for value, color in panel.thresholds),
            ],
        },
        "mappings": _mappings(panel.words),
    }
    if panel.at_most_one:
        defaults["max"] = 1
    if not panel.stat:
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
        }
    return {
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _STAT_OPTIONS if panel.stat else _GRAPH_OPTIONS,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "instant": panel.stat,
                "range": not panel.stat,
            }
            for number, query in enumerate(panel.queries)
        ],
    }


def _mappings(words: Sequence[tuple[int, str, str]]) -> list[Mapping[str, Any]]:
    if not words:
        return []
    options = {str(value): {"text": word, "color": color} for value, word, color in words}
    return [{"type": "value", "options": options}]


_STAT_OPTIONS = {
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "center",
    "textMode": "auto",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
}
_GRAPH_OPTIONS = {
    "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
    "tooltip": {"mode": "multi", "sort": "desc"},
}
