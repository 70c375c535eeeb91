"""What watches Hoplink: Prometheus, Alertmanager, Grafana."""
