"""The recorder takes everything out of the stream, oldest first, and nothing before it is safe."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Any

import psycopg2
import pytest
import redis
from prometheus_client import CollectorRegistry

from services.worker import click_recorder
from services.worker.click_recorder import ClickRecorder
from services.worker.click_store import ClickStore, Recorded
from services.worker.side_job import SideJob
from shared import click_stream, metrics
from shared.click_stream import BEATS, SILENCE_SECONDS, STREAM, STREAM_BYTES, UNREADABLE, Batch
from tests.support.click_load import totals
from tests.support.clicks import Click, encoded
from tests.support.stores import PostgresProcess
from tests.support.waiting import wait_for

FIRST, SECOND = b"1" * 16, b"2" * 16
BROWSER = b"Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"


class Pipeline:
    """A stream, and a recorder that reads it when it is told to."""

    def __init__(self, client: redis.Redis, database_url: str) -> None:
        self.client = client
        self.url = database_url
        self.registry = CollectorRegistry()
        self.recorder = self.another(self.registry)
        self._append: Any = client.register_script(click_stream.APPEND)
        self._positions: dict[bytes, int] = {}

    def another(self, registry: CollectorRegistry | None = None) -> ClickRecorder:
        return ClickRecorder(self.client, self.store, registry or CollectorRegistry())

    def store(self) -> ClickStore:
        return ClickStore.open(self.url, retention_days=90)

    def append(self, first: int, count: int = 1, *, producer: bytes = FIRST) -> None:
        now = time.time_ns() // 1_000_000
        content = encoded(producer, first, [Click(1, now, BROWSER)] * count)
        position = self._positions.get(producer, 0)
        self._positions[producer] = first + count
        arguments = click_stream.append_arguments(
            producer,
            expected=position,
            first=first,
            end=first + count,
            content=content,
            max_bytes=1 << 30,
        )
        assert self._append(args=arguments) == first + count

    def record(self) -> bool:
        with closing(self.store()) as store:
            return self.recorder.step(store)

    def recorded(self) -> int:
        [count] = set(totals(self.url).values())
        return count

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, name
        return value


@pytest.fixture
def pipeline(
    redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    monkeypatch.setattr(click_recorder, "BLOCK_MS", 10)
    with redis.Redis.from_url(redis_url) as client:
        yield Pipeline(client, database_url)


def test_what_is_recorded_is_removed_and_measured(pipeline: Pipeline) -> None:
    pipeline.append(0, 3)
    pipeline.append(0, 2, producer=SECOND)
    assert not pipeline.record()
    assert (pipeline.recorded(), pipeline.client.xlen(STREAM)) == (5, 0)
    assert pipeline.metric("hoplink_clicks_recorded_total", visitor="person") == 5
    assert pipeline.metric("hoplink_click_batch_clicks_sum") == 5
    assert pipeline.metric("hoplink_click_stream_entries") == 2
    pipeline.record()
    assert pipeline.metric("hoplink_click_stream_entries") == 0


def test_a_recorder_that_ended_before_it_removed_counts_nothing_twice(pipeline: Pipeline) -> None:
    pipeline.append(0, 3)
    found: Any = pipeline.client.xrange(STREAM)
    with closing(pipeline.store()) as store:
        store.record([click_stream.decode(next(iter(found[0][1].values())))])
    pipeline.append(3, 2)
    pipeline.record()
    assert (pipeline.recorded(), pipeline.client.xlen(STREAM)) == (5, 0)
    assert pipeline.metric("hoplink_clicks_seen_twice_total") == 3


def test_a_gap_shows_in_a_metric(pipeline: Pipeline) -> None:
    pipeline.append(0, 3)
    pipeline.append(10, 1)
    pipeline.record()
    assert pipeline.metric("hoplink_clicks_lost_total") == 7


def test_what_cannot_be_read_is_set_aside_and_the_rest_recorded(pipeline: Pipeline) -> None:
    pipeline.append(0, 3)
    pipeline.client.xadd(STREAM, {"label": b"\2from a later version"})
    pipeline.append(3, 2)
    pipeline.record()
    assert (pipeline.recorded(), pipeline.client.xlen(STREAM)) == (5, 0)
    assert pipeline.client.xlen(UNREADABLE) == 1
    assert pipeline.metric("hoplink_click_entries_unreadable_total") == 1


def test_one_that_postgres_refuses_does_not_hold_up_the_others(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ClickStore.record

    def refuse(store: ClickStore, batches: Sequence[Batch]) -> Recorded:
        if any(batch.first == 2 for batch in batches):
            raise psycopg2.DataError
        return real(store, batches)

    monkeypatch.setattr(ClickStore, "record", refuse)
    for number in range(4):
        pipeline.append(number)
    for _ in range(8):
        with suppress(psycopg2.DataError):
            pipeline.record()
    assert (pipeline.client.xlen(STREAM), pipeline.client.xlen(UNREADABLE)) == (0, 1)
    assert totals(pipeline.url)["clicks"] == 3
    assert pipeline.metric("hoplink_clicks_lost_total") == 1


def test_a_full_read_says_that_more_waits(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(17):
        pipeline.append(number)
    size = pipeline.client.get(STREAM_BYTES)
    monkeypatch.setattr(click_recorder, "READ_BYTES", int(size or 0) // 2)
    pipeline.recorder = pipeline.another(CollectorRegistry())
    assert [pipeline.record(), pipeline.record(), pipeline.record()] == [True, True, False]
    assert pipeline.recorded() == 17


def test_while_postgres_is_away_clicks_wait_and_their_age_shows(
    pipeline: Pipeline, postgres: PostgresProcess
) -> None:
    with closing(pipeline.store()) as store:
        for number in range(8):
            pipeline.append(number)
        postgres.kill()
        with pytest.raises(psycopg2.Error):
            pipeline.recorder.step(store)
    assert pipeline.client.xlen(STREAM) == 8
    assert pipeline.metric("hoplink_click_lag_seconds") > 0
    postgres.start()
    # After a failure it takes less at once.
    assert pipeline.record()
    assert pipeline.recorded() == 4
    pipeline.record()
    assert pipeline.recorded() == 8
    assert pipeline.metric("hoplink_click_lag_seconds") == 0


def test_what_waits_grows_no_older_at_a_worker_that_was_replaced(
    pipeline: Pipeline, postgres: PostgresProcess
) -> None:
    failures = metrics.WORKER_FAILURES.counter(pipeline.registry)
    pipeline.append(0)
    with closing(pipeline.store()) as store:
        postgres.kill()
        with pytest.raises(psycopg2.Error):
            pipeline.recorder.step(store)
    with SideJob(pipeline.recorder, failures).running():
        assert pipeline.metric("hoplink_click_lag_seconds") > 0
    wait_for(lambda: pipeline.metric("hoplink_click_lag_seconds") == 0, "the age to be another's")


def test_it_stops_within_a_second(pipeline: Pipeline) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=pipeline.recorder.run, args=(stop,))
    thread.start()
    pipeline.append(0, 3)
    wait_for(lambda: pipeline.client.xlen(STREAM) == 0, "the click to be recorded")
    stop.set()
    thread.join(1)
    assert not thread.is_alive()
    assert pipeline.recorded() == 3


def test_a_redirector_that_fell_silent_is_counted_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    now: Any = pipeline.client.time()
    pipeline.client.hset(BEATS, mapping={"alive": now[0], "killed": now[0] - SILENCE_SECONDS - 1})
    uptime: dict[str, int] = {"uptime_in_seconds": SILENCE_SECONDS - 1}
    monkeypatch.setattr(pipeline.client, "info", lambda _section: uptime)
    pipeline.recorder.watch_producers()
    assert pipeline.metric("hoplink_click_producers_silent_total") == 0, "Redis has just started"
    uptime["uptime_in_seconds"] = SILENCE_SECONDS + 1
    for _ in range(2):
        pipeline.recorder.watch_producers()
        assert pipeline.metric("hoplink_click_producers_silent_total") == 1
    assert pipeline.client.hkeys(BEATS) == [b"alive"]
