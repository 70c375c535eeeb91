"""The redirector's protocol builds on parts of uvicorn that uvicorn promises nobody.

When a test here fails: read what changed, see that services/redirector/protocol.py and fast_lane.py
still do as uvicorn does, then write the new version and digests down here.
"""

from __future__ import annotations

import hashlib
import inspect
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from services.redirector.protocol import RedirectorProtocol

LOCK = Path(__file__).resolve().parents[3] / "infra" / "requirements" / "redirector.txt"
HOMES: dict[str, type] = {
    home.__name__: home
    for home in (HttpToolsProtocol, RequestResponseCycle, FlowControl, ServerState, Server)
}
VERSIONS = {"uvicorn": "0.54.0", "httptools": "0.9.0"}
DIGESTS = {
    "HttpToolsProtocol.__init__": "4f08999410347141",
    "HttpToolsProtocol.connection_made": "6efb565ff3d36b91",
    "HttpToolsProtocol.connection_lost": "c91a4c9bf2e29c55",
    "HttpToolsProtocol.data_received": "010a7ae59a5d3b1a",
    "HttpToolsProtocol.eof_received": "5652627579a02369",
    "HttpToolsProtocol.on_message_begin": "96d377fdc7c2baef",
    "HttpToolsProtocol.on_headers_complete": "1ea8589acfad92d8",
    "HttpToolsProtocol.on_body": "dba9c32aeba35b6a",
    "HttpToolsProtocol.on_message_complete": "1fbad42dc31fc01f",
    "HttpToolsProtocol.on_response_complete": "64e254f28e389e76",
    "HttpToolsProtocol.send_400_response": "ae5a4a3782b646fd",
    "HttpToolsProtocol.shutdown": "d7351fa33f00d430",
    "HttpToolsProtocol._start_asgi_task": "9c08c2571ae9b038",
    "RequestResponseCycle": "e67d470d435dcc1c",
    "FlowControl": "126debcdaa894c83",
    "ServerState": "f2260fbf10154746",
    "Server.on_tick": "60ea49b06ccf68c1",
    "Server.shutdown": "9b33c50562992b1e",
}
"""The first 16 digits of the SHA-256 of each part's source."""


def test_every_part_that_is_overridden_is_watched() -> None:
    overridden = {
        f"HttpToolsProtocol.{name}"
        for name, value in vars(RedirectorProtocol).items()
        if inspect.isfunction(value) and hasattr(HttpToolsProtocol, name)
    }
    assert overridden <= DIGESTS.keys()


@pytest.mark.parametrize("name", VERSIONS)
def test_the_locked_version_is_the_one_that_was_read(name: str) -> None:
    expected = VERSIONS[name]
    assert f"{name}=={expected} " in LOCK.read_text(), f"{name} is locked anew.\n{__doc__}"
    assert metadata.version(name) == expected, f"another {name} is installed.\n{__doc__}"


@pytest.mark.parametrize("part", DIGESTS)
def test_the_part_is_as_it_was_read(part: str) -> None:
    home, _, method = part.partition(".")
    found: Any = getattr(HOMES[home], method, None) if method else HOMES[home]
    assert found is not None, f"uvicorn has no {part} any more.\n{__doc__}"
    digest = hashlib.sha256(inspect.getsource(found).encode()).hexdigest()[:16]
    assert digest == DIGESTS[part], f"uvicorn's {part} changed.\n{__doc__}"
