"""Starts the API: `python -m services.api`."""

from __future__ import annotations

import gc
import logging as std_logging
import os
import sys

from services.api.server import Server
from shared import logging
from shared.settings import Settings, SettingsError


def main() -> int:
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        print(f"hoplink: setting {error}", file=sys.stderr)
        return 2
    # Worker processes share the memory of what was imported as long as nothing writes to it, which
    # looking for garbage in it would; and leaving takes a tenth of a second less.
    gc.freeze()
    Server(settings, configure_logging(settings)).run()
    return 0


def configure_logging(settings: Settings) -> logging.JsonLines:
    """Logs like the other services, but for what would cost too much in a line for each request."""
    # No line shows where in the code it comes from, or its thread: finding out would take a third
    # of what a line costs.
    std_logging._srcfile = None  # noqa: SLF001  # documented, under "Optimization"
    std_logging.logThreads = False
    std_logging.logProcesses = False
    std_logging.logMultiprocessing = False
    return logging.configure("api", settings)


if __name__ == "__main__":
    sys.exit(main())
