"""Grafana: its data source and dashboards."""
