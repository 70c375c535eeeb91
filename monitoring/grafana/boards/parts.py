"""Queries and panels that several dashboards have.

Rates are taken over `$__rate_interval`, which Grafana makes at least four scrapes long.
"""

from __future__ import annotations

from monitoring.grafana.panels import GREEN, RED, YELLOW, Panel, Query, Row

HERE = 'job=~"$service",instance=~"$instance"'
REDIRECTS = f'service="redirector",route="/{{short_code}}",{HERE}'
OF_API = f'service="api",{HERE}'
BUSINESS = 'route!~"/(health|ready|prometheus|metrics|logs|alert-status|dashboard.*)"'
UP = ((0, "DOWN", RED), (1, "up", GREEN))
RATE = "[$__rate_interval]"


def sum_rate(metric: str, labels: str = HERE, by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{labels}}}{RATE}))"


def quantile(share: float, metric: str, labels: str, by: str = "") -> str:
    within = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {sum_rate(f'{metric}_bucket', labels, within)})"


def gauge(metric: str, by: str = "instance", function: str = "sum") -> str:
    return f"{function} by ({by}) ({metric}{{{HERE}}})"


def share_of_errors(labels: str, by: str) -> str:
    """0 where there are requests and no errors; nothing where there are no requests."""
    every = sum_rate("http_requests_total", labels, by)
    errors = sum_rate("http_requests_total", f'{labels},status=~"5.."', by)
    return f"({errors} or 0 * {every}) / ({every} > 0)"


def stat(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    thresholds: tuple[tuple[float, str], ...] = (),
    words: tuple[tuple[int, str, str], ...] = (),
) -> Panel:
    """A single figure; six of them fill a row."""
    return Panel(
        title,
        description,
        unit,
        (Query(expr),),
        stat=True,
        width=4,
        thresholds=thresholds,
        words=words,
    )


PROCESSES = Row(
    "Saturation",
    (
        Panel(
            "CPU",
            "Cores that a process uses. A redirector or worker has one: near 1 it is the limit.",
            "short",
            (
                Query(
                    sum_rate("process_cpu_seconds_total", by="job, instance"),
                    "{{job}} {{instance}}",
                ),
            ),
            thresholds=((0.8, YELLOW), (0.95, RED)),
            width=6,
        ),
        Panel(
            "Memory",
            "Resident memory of each process.",
            "bytes",
            (
                Query(
                    gauge("process_resident_memory_bytes", "job, instance"), "{{job}} {{instance}}"
                ),
            ),
            width=6,
        ),
        Panel(
            "Open files",
            "Open files of each process, connections among them.",
            "short",
            (Query(gauge("process_open_fds", "job, instance"), "{{job}} {{instance}}"),),
            width=6,
        ),
        Panel(
            "Log entries left out",
            "Each second: repeated ones are counted instead; an overflow is missing in /logs.",
            "ops",
            (
                Query(
                    sum_rate("hoplink_log_entries_dropped_total", by="job, reason"),
                    "{{job}} {{reason}}",
                ),
            ),
            width=6,
        ),
    ),
)
