"""Starts one worker process: `python -m services.worker`."""

from __future__ import annotations

import gc
import os
import signal
import sys
from functools import partial

from prometheus_client import CollectorRegistry
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.worker.change_relay import ChangeRelay
from services.worker.click_recorder import ClickRecorder
from services.worker.click_store import ClickStore
from services.worker.health import serve
from services.worker.telemetry import Telemetry
from services.worker.worker import Worker
from shared import logging
from shared.log_feed import LogFeed
from shared.metrics import WORKER
from shared.settings import Settings, SettingsError

REDIS_TIMEOUT_SECONDS = 1
GARBAGE_THRESHOLD = 100_000
"""A batch of clicks is some hundred thousand objects without a cycle among them: Python looks for
cycles that often, not every 700 objects, which takes a sixth less time."""


def main() -> int:
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        print(f"hoplink: setting {error}", file=sys.stderr)
        return 2
    feed = LogFeed(settings.redis_url.get_secret_value(), logging.configure("worker", settings))
    gc.set_threshold(GARBAGE_THRESHOLD)
    # Also at its end it need not look for garbage in what was imported, for a tenth of a second.
    gc.freeze()
    registry = CollectorRegistry()
    feed.count_in(registry, WORKER)
    worker = create_worker(settings, registry)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    try:
        with (
            feed.running(),
            Telemetry(settings, worker, registry).running(),
            serve(settings.worker_host, settings.worker_port, worker, registry),
        ):
            worker.run()
    except OSError as error:
        print(
            f"hoplink: worker can't listen on port {settings.worker_port}: {error}", file=sys.stderr
        )
        return 1
    return 0


def create_worker(settings: Settings, registry: CollectorRegistry) -> Worker:
    """A worker and the clients it needs. It connects to nothing before it runs."""
    database_url = settings.database_url.get_secret_value()
    recorder = ClickRecorder(
        _redis(settings),
        partial(ClickStore.open, database_url, retention_days=settings.click_retention_days),
        registry,
    )
    return Worker(
        database_url,
        ChangeRelay(_redis(settings), registry),
        registry,
        change_log_retention=settings.change_log_retention_seconds,
        jobs=[recorder],
    )


def _redis(settings: Settings) -> Redis:
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        client_name="hoplink-worker",
        # The next step is the retry.
        retry=Retry(NoBackoff(), 0),
    )


if __name__ == "__main__":
    sys.exit(main())
