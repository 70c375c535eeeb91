"""What resources have in common."""

from __future__ import annotations

from typing import Any, Protocol

import falcon


class _Getter(Protocol):
    def on_get(self, req: falcon.Request, resp: falcon.Response, **params: Any) -> None: ...


class Readable:
    """A resource that answers GET, and HEAD likewise: Falcon leaves the body out."""

    def on_head(self: _Getter, req: falcon.Request, resp: falcon.Response, **params: Any) -> None:
        self.on_get(req, resp, **params)
