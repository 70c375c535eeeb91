"""The dashboards: what each panel asks Prometheus, and how to read the answer."""

from __future__ import annotations

from monitoring.grafana.boards.api import API
from monitoring.grafana.boards.clicks import CLICKS
from monitoring.grafana.boards.overview import OVERVIEW
from monitoring.grafana.boards.redirector import REDIRECTOR
from monitoring.grafana.boards.stores import STORES

ALL = (OVERVIEW, REDIRECTOR, API, CLICKS, STORES)
