"""Clicks on their way to PostgreSQL."""

from __future__ import annotations

from monitoring.grafana.boards.parts import HERE, gauge, quantile, sum_rate
from monitoring.grafana.panels import RED, YELLOW, Dashboard, Panel, Query, Row

CLICKS = Dashboard(
    "hoplink-clicks",
    "Hoplink: click pipeline",
    "Clicks from redirectors by way of Redis to PostgreSQL; docs/CLICKS.md tells how.",
    ("redirector", "worker"),
    (
        Row(
            "Flow",
            (
                Panel(
                    "Clicks each second",
                    "accepted by redirectors, flushed to Redis, recorded by the worker: the same "
                    "height, one a little after the other.",
                    "ops",
                    tuple(
                        Query(sum_rate(f"hoplink_clicks_{step}_total"), step)
                        for step in ("accepted", "flushed", "recorded")
                    ),
                ),
                Panel(
                    "Lag",
                    "Age of the oldest click not recorded. ClicksBehind fires over a minute.",
                    "s",
                    (Query("max(hoplink_click_lag_seconds)", "lag"),),
                    thresholds=((10, YELLOW), (60, RED)),
                ),
                Panel(
                    "Who",
                    "Recorded clicks each second: people and bots.",
                    "ops",
                    (
                        Query(
                            sum_rate("hoplink_clicks_recorded_total", by="visitor"), "{{visitor}}"
                        ),
                    ),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Trouble",
            (
                Panel(
                    "Clicks that are not counted",
                    "Each second: dropped for want of room in a redirector, lost in Redis.",
                    "ops",
                    (
                        Query(sum_rate("hoplink_clicks_dropped_total"), "dropped"),
                        Query(sum_rate("hoplink_clicks_lost_total"), "lost"),
                    ),
                    thresholds=((0.001, RED),),
                ),
                Panel(
                    "Recovered and set aside",
                    "Each second: clicks that came twice and were counted once, entries that could "
                    "not be read, redirectors that fell silent.",
                    "ops",
                    (
                        Query(sum_rate("hoplink_clicks_seen_twice_total"), "came twice"),
                        Query(sum_rate("hoplink_click_entries_unreadable_total"), "unreadable"),
                        Query(
                            sum_rate("hoplink_click_producers_silent_total"), "silent redirectors"
                        ),
                    ),
                ),
                Panel(
                    "Failures",
                    "Each second: flushes that Redis didn't take, steps of the worker that failed. "
                    "Both are tried again.",
                    "ops",
                    (
                        Query(sum_rate("hoplink_click_flushes_failed_total"), "flushes"),
                        Query(sum_rate("hoplink_worker_failures_total", by="job"), "worker"),
                    ),
                ),
            ),
        ),
        Row(
            "Room",
            (
                Panel(
                    "Waiting in redirectors",
                    "Clicks that Redis doesn't have yet.",
                    "short",
                    (Query(gauge("hoplink_clicks_waiting"), "{{instance}}"),),
                ),
                Panel(
                    "Memory of waiting clicks",
                    "In redirectors (limit CLICK_BUFFER_MIB) and in Redis (CLICK_STREAM_MIB).",
                    "bytes",
                    (
                        Query(gauge("hoplink_clicks_buffer_bytes"), "{{instance}}"),
                        Query("max(hoplink_click_stream_bytes)", "Redis"),
                    ),
                ),
                Panel(
                    "Batches in Redis",
                    "Entries of the stream when the worker last looked.",
                    "short",
                    (Query("max(hoplink_click_stream_entries)", "entries"),),
                ),
            ),
        ),
        Row(
            "Worker",
            (
                Panel(
                    "Clicks in a transaction",
                    "Half of them, and all but one in a hundred, record at most so many.",
                    "short",
                    tuple(
                        Query(quantile(share, "hoplink_click_batch_clicks", HERE), word)
                        for share, word in ((0.5, "p50"), (0.99, "p99"))
                    ),
                ),
                Panel(
                    "Time of a transaction",
                    "Time to read and record one batch.",
                    "s",
                    tuple(
                        Query(quantile(share, "hoplink_click_batch_seconds", HERE), word)
                        for share, word in ((0.5, "p50"), (0.99, "p99"))
                    ),
                ),
                Panel(
                    "Active worker",
                    "1 in the worker that does the work, 0 in those that wait.",
                    "short",
                    (Query(gauge("hoplink_worker_active"), "{{instance}}"),),
                ),
            ),
        ),
    ),
)
