"""How users, links and events are read and written."""

from __future__ import annotations

from monitoring.grafana.boards.parts import (
    BUSINESS,
    HERE,
    OF_API,
    gauge,
    quantile,
    share_of_errors,
    sum_rate,
)
from monitoring.grafana.panels import RED, Dashboard, Panel, Query, Row

API = Dashboard(
    "hoplink-api",
    "Hoplink: API",
    "How users, links and events are read and written.",
    ("api",),
    (
        Row(
            "Latency, traffic, errors",
            (
                Panel(
                    "Latency",
                    "Time to answer, without probes.",
                    "s",
                    tuple(
                        Query(
                            quantile(
                                share, "http_request_duration_seconds", f"{OF_API},{BUSINESS}"
                            ),
                            word,
                        )
                        for share, word in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
                    ),
                ),
                Panel(
                    "Traffic",
                    "Answers each second, by status.",
                    "reqps",
                    (
                        Query(
                            sum_rate("http_requests_total", f"{OF_API},{BUSINESS}", "status"),
                            "{{status}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Errors",
                    "Share of requests answered 5xx, by route. 503: PostgreSQL is out of reach.",
                    "percentunit",
                    (Query(share_of_errors(f"{OF_API},{BUSINESS}", "route"), "{{route}}"),),
                    thresholds=((0.1, RED),),
                ),
            ),
        ),
        Row(
            "Routes",
            (
                Panel(
                    "Traffic by route",
                    "The ten busiest.",
                    "reqps",
                    (
                        Query(
                            f"topk(10, {sum_rate('http_requests_total', OF_API, 'method, route')})",
                            "{{method}} {{route}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    "Slowest routes",
                    "Time within which 99 % of a route's requests are answered; the ten slowest.",
                    "s",
                    (
                        Query(
                            "topk(10, "
                            + quantile(
                                0.99, "http_request_duration_seconds", OF_API, "method, route"
                            )
                            + ")",
                            "{{method}} {{route}}",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
        Row(
            "Saturation",
            (
                Panel(
                    "Database connections",
                    "Connections in use and idle; API_WORKERS times API_THREADS is the limit.",
                    "short",
                    (
                        Query(
                            gauge("hoplink_database_pool_connections", "instance, state"),
                            "{{instance}} {{state}}",
                        ),
                        Query(gauge("hoplink_database_pool_size"), "{{instance}} limit"),
                    ),
                ),
                Panel(
                    "Read cache",
                    "Reads each second: hit, miss, or off while Redis can't be trusted.",
                    "ops",
                    (
                        Query(
                            sum_rate("hoplink_api_cache_reads_total", by="outcome"), "{{outcome}}"
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    "Processes",
                    "API servers that answer Prometheus.",
                    "short",
                    (Query(f"sum(up{{{HERE}}})", "servers"),),
                ),
            ),
        ),
    ),
)
