"""/dashboard: a live page about all services, made of the files beside this one."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import falcon

from services.api.resources import Readable

SCRIPTS = (
    "dom.js",
    "format.js",
    "chart.js",
    "figures.js",
    "services.js",
    "links.js",
    "logs.js",
    "page.js",
)
"""In this order; together they are one script."""

_FOLDER = Path(__file__).parent


class Dashboard(Readable):
    """One document without another file, which may run nothing but what is in it."""

    def __init__(self) -> None:
        style = _read("page.css")
        script = "\n".join(["'use strict';", *map(_read, SCRIPTS)])
        page = _read("page.html").replace("{{style}}", style).replace("{{script}}", script)
        self._page = page.encode()
        self._policy = "; ".join(
            [
                "default-src 'none'",
                f"style-src {_hash(style)}",
                f"script-src {_hash(script)}",
                # Its own API is all it may ask; its icon is in the page.
                "connect-src 'self'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            ]
        )

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = "text/html; charset=utf-8"
        resp.set_header("Content-Security-Policy", self._policy)
        resp.cache_control = ["no-cache"]
        resp.data = self._page


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
