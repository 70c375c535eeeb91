"""Whether people are served, in one page."""

from __future__ import annotations

from monitoring.grafana.boards.parts import (
    BUSINESS,
    HERE,
    PROCESSES,
    RATE,
    UP,
    quantile,
    share_of_errors,
    stat,
    sum_rate,
)
from monitoring.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row

OVERVIEW = Dashboard(
    "hoplink-overview",
    "Hoplink: overview",
    "Whether people are served, in one page. Alerts are marked in every graph.",
    ("redirector", "api", "worker"),
    (
        Row(
            "Now",
            (
                stat(
                    "Alerts firing",
                    "What fires and what to do: Alertmanager, docs/RUNBOOK.md.",
                    "short",
                    'count(ALERTS{alertstate="firing"}) or vector(0)',
                    thresholds=((1, RED),),
                ),
                stat(
                    "Redirects",
                    "Answers to short links, each second.",
                    "reqps",
                    f'sum(rate(http_requests_total{{service="redirector",route="/{{short_code}}"}}{RATE}))',
                ),
                stat(
                    "Requests that fail",
                    "Share of 5xx of the last two minutes. HighErrorRate fires over 10 %.",
                    "percentunit",
                    "sum(service:http_errors:increase2m)"
                    " / (sum(service:http_requests:increase2m) > 0)",
                    thresholds=((0.01, YELLOW), (0.1, RED)),
                ),
                stat(
                    "Redirects over 25 ms",
                    "Share of the last five minutes; the objective is 1 %.",
                    "percentunit",
                    "redirect:slow:ratio_rate5m",
                    thresholds=((0.01, YELLOW), (0.1, RED)),
                ),
                stat(
                    "PostgreSQL",
                    "Whether every process reaches it.",
                    "short",
                    "min(database_up)",
                    words=UP,
                ),
                stat(
                    "Redis",
                    "Whether every process reaches it.",
                    "short",
                    "min(redis_up)",
                    words=UP,
                ),
            ),
        ),
        Row(
            "Latency, traffic, errors",
            (
                Panel(
                    "Latency",
                    "Time to answer: half of all requests, and all but one in a hundred.",
                    "s",
                    tuple(
                        Query(
                            quantile(
                                share,
                                "http_request_duration_seconds",
                                f"{HERE},{BUSINESS}",
                                "service",
                            ),
                            f"{{{{service}}}} {word}",
                        )
                        for share, word in ((0.5, "p50"), (0.99, "p99"))
                    ),
                    thresholds=((0.025, YELLOW),),
                ),
                Panel(
                    "Traffic",
                    "Requests answered each second, without probes and scrapes.",
                    "reqps",
                    (
                        Query(
                            sum_rate("http_requests_total", f"{HERE},{BUSINESS}", "service"),
                            "{{service}}",
                        ),
                    ),
                ),
                Panel(
                    "Errors",
                    "Share of requests answered 5xx.",
                    "percentunit",
                    (Query(share_of_errors(f"{HERE},{BUSINESS}", "service"), "{{service}}"),),
                    thresholds=((0.1, RED),),
                ),
            ),
        ),
        Row(
            "Objectives",
            (
                Panel(
                    "Error budget burnt: availability",
                    "How many times faster than thirty days would allow redirects fail. "
                    "Over 14.4 for an hour somebody is paged.",
                    "short",
                    (
                        Query("redirect:errors:ratio_rate5m / 0.0005", "5 minutes"),
                        Query("redirect:errors:ratio_rate1h / 0.0005", "1 hour"),
                        Query("redirect:errors:ratio_rate6h / 0.0005", "6 hours"),
                    ),
                    thresholds=((1, YELLOW), (14.4, RED)),
                ),
                Panel(
                    "Error budget burnt: latency",
                    "The same of redirects that take over 25 ms.",
                    "short",
                    (
                        Query("redirect:slow:ratio_rate5m / 0.01", "5 minutes"),
                        Query("redirect:slow:ratio_rate1h / 0.01", "1 hour"),
                        Query("redirect:slow:ratio_rate6h / 0.01", "6 hours"),
                    ),
                    thresholds=((1, YELLOW), (14.4, RED)),
                ),
                Panel(
                    "Processes",
                    "Processes that answer Prometheus.",
                    "short",
                    (Query(f"sum by (job) (up{{{HERE}}})", "{{job}}"),),
                ),
            ),
        ),
        PROCESSES,
    ),
)
