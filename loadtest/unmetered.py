"""A service without what observability costs: `python -m loadtest.unmetered redirector|api`.

Neither counts requests; the API writes no line of the log for each of them either.
"""

from __future__ import annotations

import logging
import os
import sys

from services.api.__main__ import configure_logging
from services.api.server import Server
from services.redirector import __main__ as redirector
from shared.logging import REQUESTS
from shared.settings import Settings


def serve_api(settings: Settings) -> None:
    log = configure_logging(settings)
    logging.getLogger(REQUESTS).setLevel(logging.CRITICAL)
    Server(settings, log, metered=False).run()


if __name__ == "__main__":
    if sys.argv[1] == "api":
        serve_api(Settings.from_env(os.environ))
    else:
        sys.exit(redirector.main(metered=False))
