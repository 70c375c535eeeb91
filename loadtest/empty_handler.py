"""What the API's own work is measured against: `python -m loadtest.empty_handler`.

The API as it is, under the same gunicorn, with one path more: POST /empty, whose handler does
nothing. With `bare` as its argument, a Falcon application that has nothing but this path.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import falcon

from services.api.__main__ import configure_logging
from services.api.server import Server
from shared.logging import JsonLines
from shared.settings import Settings

PATH = "/empty"


class Empty:
    def on_post(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = b"{}"


class EmptyServer(Server):
    def __init__(self, settings: Settings, log: JsonLines, *, bare: bool) -> None:
        self._bare = bare
        super().__init__(settings, log)

    def load(self) -> Any:
        app: Any = falcon.App() if self._bare else super().load()
        app.add_route(PATH, Empty())
        return app


if __name__ == "__main__":
    settings = Settings.from_env(os.environ)
    EmptyServer(settings, configure_logging(settings), bare="bare" in sys.argv).run()
