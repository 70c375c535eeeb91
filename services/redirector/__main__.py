"""Starts one redirector process: `python -m services.redirector`."""

from __future__ import annotations

import gc
import os
import signal
import sys
from logging import getLogger

import uvicorn
from starlette.applications import Starlette

from services.redirector import open_files
from services.redirector.app import create_app
from services.redirector.protocol import RedirectorProtocol
from shared import logging
from shared.log_feed import LogFeed
from shared.settings import Settings, SettingsError

_log = getLogger(__name__)


def main(*, metered: bool = True) -> int:
    """Runs until a signal ends it; `metered` is create_app's."""
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        print(f"hoplink: setting {error}", file=sys.stderr)
        return 2
    feed = LogFeed(settings.redis_url.get_secret_value(), logging.configure("redirector", settings))
    _tune_garbage_collection()
    _tune_scheduling()
    # uvicorn raises the signal that stopped it once more, which must not cut off the last entries.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    app = create_app(open_files.fit(settings), feed, metered=metered)
    with feed.running():
        _serve(app, settings)
    return 0


def _serve(app: Starlette, settings: Settings) -> None:
    uvicorn.run(
        app,
        host=settings.redirector_host,
        port=settings.redirector_port,
        loop="uvloop",
        http=RedirectorProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.redirector_keep_alive_seconds,
        timeout_graceful_shutdown=settings.redirector_drain_seconds,
    )


def _tune_garbage_collection() -> None:
    """Spares redirects most of the search for cyclic garbage, of which a local hit makes none.

    It took a twelfth of a local hit's time. What was imported stays until the end and is not
    looked at again; the rest is looked at less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 50)


def _tune_scheduling() -> None:
    """Asks Linux not to stop another process the moment that a request arrives.

    An nginx on the same processor would be stopped for every other request that it passes on, and
    each redirect would take a fifth more of this process's time. A free processor is taken at once.
    """
    if sys.platform == "linux":
        try:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        except OSError as error:
            _log.info("requests stop other processes", extra={"reason": str(error)})


if __name__ == "__main__":
    sys.exit(main())
