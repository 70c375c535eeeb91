"""How short links are answered."""

from __future__ import annotations

from monitoring.grafana.boards.parts import (
    PROCESSES,
    REDIRECTS,
    gauge,
    quantile,
    share_of_errors,
    sum_rate,
)
from monitoring.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row

REDIRECTOR = Dashboard(
    "hoplink-redirector",
    "Hoplink: redirector",
    "How short links are answered, and from where.",
    ("redirector",),
    (
        Row(
            "Latency, traffic, errors",
            (
                Panel(
                    "Latency",
                    "Time to answer. The objective: 99 % within 25 ms.",
                    "s",
                    tuple(
                        Query(quantile(share, "http_request_duration_seconds", REDIRECTS), word)
                        for share, word in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
                    ),
                    thresholds=((0.025, YELLOW),),
                ),
                Panel(
                    "Traffic",
                    "Answers each second, by status.",
                    "reqps",
                    (Query(sum_rate("http_requests_total", REDIRECTS, "status"), "{{status}}"),),
                    stacked=True,
                ),
                Panel(
                    "Errors",
                    "Share of redirects answered 5xx. The objective: 0.05 %.",
                    "percentunit",
                    (Query(share_of_errors(REDIRECTS, "instance"), "{{instance}}"),),
                    thresholds=((0.0005, YELLOW), (0.1, RED)),
                ),
            ),
        ),
        Row(
            "Where answers come from",
            (
                Panel(
                    "Tiers",
                    "Redirects each second by the tier that knew the link: local is the "
                    "redirector's own memory. Much database means cold caches.",
                    "reqps",
                    (Query(sum_rate("hoplink_redirects_total", by="tier"), "{{tier}}"),),
                    stacked=True,
                ),
                Panel(
                    "Outcomes",
                    "found: redirected. absent: 404. unavailable: no store could tell, 503.",
                    "reqps",
                    (Query(sum_rate("hoplink_redirects_total", by="outcome"), "{{outcome}}"),),
                    stacked=True,
                ),
                Panel(
                    "Local cache",
                    "In each redirector's memory; LOCAL_CACHE_LINKS and LOCAL_CACHE_MIB limit it.",
                    "short",
                    (
                        Query(gauge("hoplink_local_cache_links"), "{{instance}} links"),
                        Query(gauge("hoplink_local_cache_absent"), "{{instance}} unknown codes"),
                    ),
                ),
                Panel(
                    "Local cache: memory",
                    "Estimated memory of these links.",
                    "bytes",
                    (Query(gauge("hoplink_local_cache_bytes"), "{{instance}}"),),
                ),
                Panel(
                    "Local cache: evictions",
                    "Links that had to go for others, each second. Many: make the cache larger.",
                    "ops",
                    (
                        Query(
                            sum_rate("hoplink_local_cache_evictions_total", by="instance"),
                            "{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    "Look-ups",
                    "waiting: on a store right now; REDIRECTOR_PENDING_LOOKUPS is the limit. "
                    "joined: requests each second that shared another's look-up.",
                    "short",
                    (
                        Query(gauge("hoplink_lookups_pending"), "{{instance}} waiting"),
                        Query(
                            sum_rate("hoplink_lookups_joined_total", by="instance"),
                            "{{instance}} joined",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Changes",
            (
                Panel(
                    "Age of knowledge",
                    "Seconds since a redirector last knew of every change; the promise is 3 s.",
                    "s",
                    (Query(gauge("hoplink_changes_proof_age_seconds"), "{{instance}}"),),
                    thresholds=((3, RED),),
                ),
                Panel(
                    "Way of changes",
                    "hearing 1: by subscription; 0: by polling. cut off 1: by neither.",
                    "short",
                    (
                        Query(gauge("hoplink_changes_hearing"), "{{instance}} hearing"),
                        Query(gauge("hoplink_changes_cut_off"), "{{instance}} cut off"),
                    ),
                ),
                Panel(
                    "Changes applied",
                    "Each second, by the way they came.",
                    "ops",
                    (Query(sum_rate("hoplink_changes_applied_total", by="way"), "{{way}}"),),
                ),
            ),
        ),
        Row(
            "Saturation",
            (
                *PROCESSES.panels,
                Panel(
                    "Connections",
                    "Client connections; REDIRECTOR_MAX_CONNECTIONS is the limit.",
                    "short",
                    (Query(gauge("hoplink_redirector_connections"), "{{instance}}"),),
                    width=12,
                ),
                Panel(
                    "Connections refused",
                    "Each second, for want of room.",
                    "ops",
                    (
                        Query(
                            sum_rate("hoplink_redirector_connections_refused_total", by="instance"),
                            "{{instance}}",
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)
