"""Every metric: its name, type, labels and meaning, declared once.

Services either build live objects from a declaration (`counter`, `gauge`) or, where a count must
cost nothing, keep plain numbers and turn them into samples when they are scraped (`samples`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

VERSION = "0.1.0"
"""Of Hoplink, as in pyproject.toml."""

REDIRECTOR, API, WORKER = "redirector", "api", "worker"
ALL = (REDIRECTOR, API, WORKER)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Values of the label `method`; any other method is OTHER."""
OTHER = "OTHER"
NO_ROUTE = "none"
"""The route of what leads nowhere, or isn't HTTP."""


@dataclass(frozen=True)
class Declaration:
    """A metric. Label values come from a fixed set of words of ours, never from a request."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    of: tuple[str, ...] = (REDIRECTOR,)
    """The services that have it."""
    together: Literal["livesum", "livemax"] = "livesum"
    """What a gauge of a server with several processes is, of theirs."""

    def counter(self, registry: CollectorRegistry) -> Counter:
        assert self.kind == "counter"
        return Counter(self.name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        assert self.kind == "gauge"
        return Gauge(
            self.name, self.help, self.labels, registry=registry, multiprocess_mode=self.together
        )

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        assert self.kind == "histogram"
        return Histogram(self.name, self.help, self.labels, buckets=self.buckets, registry=registry)

    def samples(self, values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
        """One sample for each pair of label values and number."""
        family = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        metric = family(self.name, self.help, labels=self.labels)
        for labels, value in values:
            metric.add_metric(labels, value)
        return metric

    def sample(self, value: float) -> Metric:
        return self.samples([((), value)])

    def histogram_samples(
        self, values: Iterable[tuple[tuple[str, ...], Sequence[int], float]]
    ) -> Metric:
        """One histogram for each label values, counts up to each bucket, and sum.

        The last of the counts is that of all observations.
        """
        metric = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        bounds = [*map(floatToGoString, self.buckets), "+Inf"]
        for labels, counts, total in values:
            metric.add_metric(labels, list(zip(bounds, counts, strict=True)), total)
        return metric


def known_method(method: str) -> str:
    """`method` as a label's value."""
    return method if method in METHODS else OTHER


HTTP_REQUESTS = Declaration(
    "http_requests_total",
    "counter",
    "Requests answered, by route, not by path. Unknown methods are OTHER; what leads to no route, "
    "or is no HTTP, has the route none",
    ("service", "method", "route", "status"),
    of=(REDIRECTOR, API),
)
HTTP_DURATION = Declaration(
    "http_request_duration_seconds",
    "histogram",
    "Time that the service took for a request, waits on stores included",
    ("service", "method", "route"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    of=(REDIRECTOR, API),
)
DATABASE_UP = Declaration(
    "database_up",
    "gauge",
    "1 if PostgreSQL answered this service when it last asked, which it does every second, else 0",
    ("service",),
    of=ALL,
    together="livemax",
)
REDIS_UP = Declaration(
    "redis_up",
    "gauge",
    "1 if Redis took what this service last sent it, which it does every second, else 0",
    ("service",),
    of=ALL,
    together="livemax",
)
DATABASE_POOL_CONNECTIONS = Declaration(
    "hoplink_database_pool_connections",
    "gauge",
    "PostgreSQL connections of the pool that requests use, by state (in_use, idle)",
    ("service", "state"),
    of=(REDIRECTOR, API),
)
DATABASE_POOL_SIZE = Declaration(
    "hoplink_database_pool_size",
    "gauge",
    "Connections that this pool may have",
    ("service",),
    of=(REDIRECTOR, API),
)
API_CACHE_READS = Declaration(
    "hoplink_api_cache_reads_total",
    "counter",
    "Reads for which the API asked its cache in Redis, by outcome (hit, miss, off: no answer)",
    ("outcome",),
    of=(API,),
)
BUILD_INFO = Declaration(
    "hoplink_build_info",
    "gauge",
    "Always 1; its labels tell which version runs",
    ("service", "version"),
    of=ALL,
    together="livemax",
)
LOG_ENTRIES_DROPPED = Declaration(
    "hoplink_log_entries_dropped_total",
    "counter",
    "Log entries left out: `repeated` ones are counted instead of written, "
    "an `overflow` is on standard output but not in /logs, since Redis took none",
    ("service", "reason"),
    of=ALL,
)


REDIRECTS = Declaration(
    "hoplink_redirects_total",
    "counter",
    "Answers to GET /<short_code>, by outcome (found, absent, unavailable) "
    "and the tier that gave it (local, redis, database, none)",
    ("outcome", "tier"),
)
CONNECTIONS = Declaration(
    "hoplink_redirector_connections", "gauge", "Client connections of a redirector"
)
CONNECTIONS_REFUSED = Declaration(
    "hoplink_redirector_connections_refused_total",
    "counter",
    "Client connections that a redirector had no room for",
)
LOOKUPS_JOINED = Declaration(
    "hoplink_lookups_joined_total",
    "counter",
    "Requests that waited for a look-up which another one had started",
)
LOOKUPS_PENDING = Declaration(
    "hoplink_lookups_pending", "gauge", "Look-ups that wait on a store right now"
)
LOCAL_CACHE_LINKS = Declaration(
    "hoplink_local_cache_links", "gauge", "Links in this redirector's own memory"
)
LOCAL_CACHE_BYTES = Declaration(
    "hoplink_local_cache_bytes", "gauge", "Estimated memory of these links, in bytes"
)
LOCAL_CACHE_ABSENT = Declaration(
    "hoplink_local_cache_absent", "gauge", "Unknown codes in this redirector's own memory"
)
LOCAL_CACHE_EVICTIONS = Declaration(
    "hoplink_local_cache_evictions_total", "counter", "Links evicted to make room"
)
CHANGES_APPLIED = Declaration(
    "hoplink_changes_applied_total",
    "counter",
    "Changes a redirector applied, by the way it heard of them (subscription, poll)",
    ("way",),
)
CHANGES_POLLS_FAILED = Declaration(
    "hoplink_change_polls_failed_total", "counter", "Polls of the change log that failed"
)
CHANGES_HEARING = Declaration(
    "hoplink_changes_hearing",
    "gauge",
    "1 while the subscription proves that no change was missed, else 0: the log is then polled",
)
CHANGES_PROOF_AGE = Declaration(
    "hoplink_changes_proof_age_seconds",
    "gauge",
    "Seconds since this redirector last knew of every change, or gave up knowing",
)
CHANGES_CUT_OFF = Declaration(
    "hoplink_changes_cut_off",
    "gauge",
    "1 while the change log is out of reach: answers may be older than promised, else 0",
)
BREAKER_OPEN = Declaration(
    "hoplink_breaker_open", "gauge", "1 while requests do without a store, else 0", ("store",)
)
STORE_FAILURES = Declaration(
    "hoplink_store_failures_total",
    "counter",
    "Calls to a store that failed or took too long",
    ("store",),
    of=(REDIRECTOR, API),
)
CHANGE_LOG_PENDING = Declaration(
    "hoplink_change_log_pending",
    "gauge",
    "Changes that the active worker has not yet told Redis of; it counts up to 10,000",
    of=(WORKER,),
)
CHANGE_LOG_AGE = Declaration(
    "hoplink_change_log_age_seconds",
    "gauge",
    "Age of the oldest of them; 0 without any",
    of=(WORKER,),
)
CHANGES_RELAYED = Declaration(
    "hoplink_changes_relayed_total",
    "counter",
    "Changes the worker applied to Redis from the log",
    of=(WORKER,),
)
CHANGES_REWOUND = Declaration(
    "hoplink_changes_rewound_total",
    "counter",
    "Times the worker went back in the log: it just became active, or Redis had lost its tail",
    of=(WORKER,),
)
WORKER_ACTIVE = Declaration(
    "hoplink_worker_active",
    "gauge",
    "1 in the worker that does the work, 0 in those that wait",
    of=(WORKER,),
)
WORKER_FAILURES = Declaration(
    "hoplink_worker_failures_total",
    "counter",
    "Steps of a job (relay, clicks) that failed and are tried again",
    ("job",),
    of=(WORKER,),
)
CLICKS_ACCEPTED = Declaration(
    "hoplink_clicks_accepted_total", "counter", "Redirects that a redirector answered and counts"
)
CLICKS_FLUSHED = Declaration(
    "hoplink_clicks_flushed_total", "counter", "Clicks that Redis took from a redirector"
)
CLICKS_DROPPED = Declaration(
    "hoplink_clicks_dropped_total",
    "counter",
    "Clicks for which a redirector had no room while Redis didn't take any",
)
CLICKS_WAITING = Declaration(
    "hoplink_clicks_waiting", "gauge", "Clicks in a redirector's memory that Redis doesn't have yet"
)
CLICKS_BUFFER_BYTES = Declaration(
    "hoplink_clicks_buffer_bytes", "gauge", "Memory that a redirector's encoded clicks take up"
)
CLICK_FLUSHES_FAILED = Declaration(
    "hoplink_click_flushes_failed_total",
    "counter",
    "Flushes that Redis didn't answer, or that found the stream full; tried again",
)
CLICKS_RECORDED = Declaration(
    "hoplink_clicks_recorded_total",
    "counter",
    "Clicks that the worker recorded, by whose they were (person, bot)",
    ("visitor",),
    of=(WORKER,),
)
CLICKS_SEEN_TWICE = Declaration(
    "hoplink_clicks_seen_twice_total",
    "counter",
    "Clicks found in the stream that were recorded before, and were not counted again",
    of=(WORKER,),
)
CLICKS_LOST = Declaration(
    "hoplink_clicks_lost_total",
    "counter",
    "Clicks that redirectors had handed to Redis and that never came out of it",
    of=(WORKER,),
)
CLICK_ENTRIES_UNREADABLE = Declaration(
    "hoplink_click_entries_unreadable_total",
    "counter",
    "Entries of the click stream that could not be read and were set aside",
    of=(WORKER,),
)
CLICK_PRODUCERS_SILENT = Declaration(
    "hoplink_click_producers_silent_total",
    "counter",
    "Redirectors that were killed, which loses what they had not flushed, or cut off from Redis",
    of=(WORKER,),
)
CLICK_BATCH_SIZE = Declaration(
    "hoplink_click_batch_clicks",
    "histogram",
    "Clicks that one transaction recorded",
    buckets=(1, 10, 100, 1_000, 10_000, 100_000),
    of=(WORKER,),
)
CLICK_BATCH_SECONDS = Declaration(
    "hoplink_click_batch_seconds",
    "histogram",
    "Time to read and record one batch",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
    of=(WORKER,),
)
CLICK_LAG = Declaration(
    "hoplink_click_lag_seconds",
    "gauge",
    "Age of the oldest click in the stream, as far as the active worker knows; 0 without any",
    of=(WORKER,),
)
CLICK_STREAM_ENTRIES = Declaration(
    "hoplink_click_stream_entries",
    "gauge",
    "Batches in the click stream when last looked at",
    of=(WORKER,),
)
CLICK_STREAM_BYTES = Declaration(
    "hoplink_click_stream_bytes",
    "gauge",
    "Size of these batches; CLICK_STREAM_MIB is the limit",
    of=(WORKER,),
)

DECLARATIONS = tuple(value for value in vars().values() if isinstance(value, Declaration))
"""All of them."""
