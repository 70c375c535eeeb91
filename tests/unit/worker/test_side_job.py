"""A side job runs as long as the worker is active, whatever happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg2
import pytest
from prometheus_client import CollectorRegistry, Counter

from services.worker import side_job
from services.worker.side_job import SideJob
from shared import metrics
from tests.support.waiting import wait_for


class Job:
    name = "test"

    def __init__(self, work: Callable[[threading.Event], object]) -> None:
        self.runs = 0
        self.stops = 0
        self._work = work

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        self._work(stop)

    def stopped(self) -> None:
        self.stops += 1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_job, "RETRY_SECONDS", 0.01)


@pytest.fixture
def failures() -> Counter:
    return metrics.WORKER_FAILURES.counter(CollectorRegistry())


def count(failures: Counter) -> float:
    return float(failures.labels("test")._value.get())


def is_running() -> bool:
    return any(thread.name == "test" for thread in threading.enumerate())


def test_it_ends_with_its_context(failures: Counter) -> None:
    job = Job(lambda stop: stop.wait())
    with SideJob(job, failures).running():
        wait_for(lambda: job.runs == 1, "the job to run")
    assert not is_running()
    assert count(failures) == 0


@pytest.mark.parametrize("error", [psycopg2.OperationalError("gone"), ZeroDivisionError()])
def test_it_runs_again_after_a_failure_which_is_counted(
    failures: Counter, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_stop: threading.Event) -> None:
        raise error

    job = Job(fail)
    with SideJob(job, failures).running():
        wait_for(lambda: job.runs >= 3, "the job to run again")
        assert job.stops == 0
    assert job.stops == 1
    assert count(failures) == job.runs
    assert "job failed" in caplog.text


def test_a_store_that_fails_for_long_is_logged_once(
    failures: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_stop: threading.Event) -> None:
        raise psycopg2.OperationalError("gone")

    job = Job(fail)
    with SideJob(job, failures).running():
        wait_for(lambda: job.runs >= 5, "the job to run again")
    assert caplog.text.count("job failed") == 1


def test_a_failure_after_it_ran_well_is_logged_again(
    failures: Counter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_job, "HEALTHY_SECONDS", 0.05)

    def work_then_fail(stop: threading.Event) -> None:
        stop.wait(0.1)
        raise psycopg2.OperationalError("gone")

    job = Job(work_then_fail)
    with SideJob(job, failures).running():
        wait_for(lambda: job.runs >= 3, "the job to run again")
    assert caplog.text.count("job failed") >= 2


def test_a_job_that_hangs_holds_nobody_up(
    failures: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_job, "STOP_SECONDS", 0.2)
    hang = threading.Event()
    started = time.monotonic()
    with SideJob(Job(lambda _stop: hang.wait()), failures).running():
        pass
    assert time.monotonic() - started < 1
    assert is_running()
    hang.set()
    wait_for(lambda: not is_running(), "its thread to end")
