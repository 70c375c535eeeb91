"""PostgreSQL and Redis."""

from __future__ import annotations

from monitoring.grafana.boards.parts import gauge
from monitoring.grafana.panels import RED, Dashboard, Panel, Query, Row

STORES = Dashboard(
    "hoplink-stores",
    "Hoplink: stores",
    "PostgreSQL and Redis, first as Hoplink's processes find them, then as they see themselves.",
    ("redirector", "api", "worker"),
    (
        Row(
            "Reached by",
            (
                Panel(
                    "PostgreSQL",
                    "1 where a query was answered within the last seconds.",
                    "short",
                    (
                        Query(
                            gauge("database_up", "service, instance", "min"),
                            "{{service}} {{instance}}",
                        ),
                    ),
                    at_most_one=True,
                ),
                Panel(
                    "Redis",
                    "1 where a command was answered within the last seconds.",
                    "short",
                    (
                        Query(
                            gauge("redis_up", "service, instance", "min"),
                            "{{service}} {{instance}}",
                        ),
                    ),
                    at_most_one=True,
                ),
                Panel(
                    "Failed calls",
                    "Calls of redirectors each second that failed or took too long, by store.",
                    "ops",
                    (
                        Query(
                            "sum by (store) (rate(hoplink_store_failures_total[$__rate_interval]))",
                            "{{store}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Change log and breakers",
            (
                Panel(
                    "Age of the change log",
                    "Of the oldest change Redis wasn't told of. ChangeLogBehind fires over 15 s.",
                    "s",
                    (Query("max(hoplink_change_log_age_seconds)", "age"),),
                    thresholds=((15, RED),),
                ),
                Panel(
                    "Changes waiting",
                    "Changes that the worker has not yet applied to Redis.",
                    "short",
                    (Query("max(hoplink_change_log_pending)", "changes"),),
                ),
                Panel(
                    "Left out",
                    "Redirectors that do without a store because it failed.",
                    "short",
                    (Query("sum by (store) (hoplink_breaker_open)", "{{store}}"),),
                ),
            ),
        ),
        Row(
            "PostgreSQL itself (its exporter, Docker Compose)",
            (
                Panel(
                    "Connections",
                    "By state, and the limit.",
                    "short",
                    (
                        Query("sum by (state) (pg_stat_activity_count)", "{{state}}"),
                        Query("max(pg_settings_max_connections)", "limit"),
                    ),
                ),
                Panel(
                    "Transactions",
                    "Each second.",
                    "ops",
                    (
                        Query(
                            'sum(rate(pg_stat_database_xact_commit{datname="hoplink"}[$__rate_interval]))',
                            "committed",
                        ),
                        Query(
                            'sum(rate(pg_stat_database_xact_rollback{datname="hoplink"}[$__rate_interval]))',
                            "rolled back",
                        ),
                    ),
                ),
                Panel(
                    "Size",
                    "Of the database on disk.",
                    "bytes",
                    (Query('sum(pg_database_size_bytes{datname="hoplink"})', "hoplink"),),
                ),
            ),
            everywhere=False,
        ),
        Row(
            "Redis itself (its exporter, Docker Compose)",
            (
                Panel(
                    "Memory",
                    "Used, and the limit.",
                    "bytes",
                    (
                        Query("sum(redis_memory_used_bytes)", "used"),
                        Query("sum(redis_memory_max_bytes)", "limit"),
                    ),
                ),
                Panel(
                    "Commands",
                    "Each second.",
                    "ops",
                    (
                        Query(
                            "sum(rate(redis_commands_processed_total[$__rate_interval]))",
                            "commands",
                        ),
                    ),
                ),
                Panel(
                    "Evicted keys",
                    "Each second: links that had to go for others.",
                    "ops",
                    (Query("sum(rate(redis_evicted_keys_total[$__rate_interval]))", "keys"),),
                ),
            ),
            everywhere=False,
        ),
    ),
)
