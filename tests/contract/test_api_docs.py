"""docs/API.md: its examples are run, in their order, and answer what it says they do."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from tests.support.services import ROOT, StartService
from tests.support.waiting import wait_for

PAGE = ROOT / "docs" / "API.md"
HERE = "http://localhost:5001"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

ELSEWHERE = ("hostname", "current_metrics")
"""Of the machine, and of what the examples before it did."""


@dataclass
class Example:
    """Some calls of curl, and what the last one answers."""

    calls: list[list[str]]
    answer: str


def examples() -> Iterator[Example]:
    calls: list[list[str]] = []
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "sh":
            joined = text.replace("\\\n", " ").replace("$(date -u +%F)", f"{datetime.now(UTC):%F}")
            calls = [
                shlex.split(f"curl{call}")
                for call in re.split(r"^curl", joined, flags=re.MULTILINE)[1:]
            ]
        else:
            assert language in ("json", "http")
            yield Example(calls, text)


def test_the_examples_in_the_documentation_do_what_it_says(start_service: StartService) -> None:
    api = start_service("api", BASE_URL=HERE, API_WORKERS="1").http
    redirector = start_service("redirector", BASE_URL=HERE).http
    start_service("worker")
    found = list(examples())
    assert len(found) > 20
    clicks = 0
    for example in found:
        if any("stats?" in word for call in example.calls for word in call):
            wait_for(lambda: _clicks(api) == clicks, "the clicks to be recorded")  # noqa: B023
        responses = [_curl(call, api, redirector) for call in example.calls]
        assert all(response.status_code < 500 for response in responses)
        clicks += sum(response.status_code == 302 for response in responses)
        _compare(example, responses[-1])


def _clicks(api: httpx.Client) -> int:
    stats = api.get("/urls/1/stats").json()
    return int(stats["clicks"]) + int(stats["bots"])


def _curl(call: list[str], api: httpx.Client, redirector: httpx.Client) -> httpx.Response:
    """What curl would get, for the few options that the page uses."""
    method, url, options = "GET", "", dict[str, Any]()
    headers = {"User-Agent": "curl/8.5.0"}
    words = iter(call[1:])
    for word in words:
        if word == "-i":
            continue
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word in ("-A", "-e"):
            headers["User-Agent" if word == "-A" else "Referer"] = next(words)
        elif word in ("-d", "--data-binary"):
            text = next(words)
            options["content"] = (ROOT / text[1:]).read_bytes() if text[0] == "@" else text
        elif word == "-F":
            name, _, file = next(words).partition("=@")
            options["files"] = {name: (Path(file).name, (ROOT / file).read_bytes())}
        else:
            assert word.startswith(f"{HERE}/")
            url = word.removeprefix(HERE)
    if method == "GET" and options:
        method = "POST"
    client = redirector if url in ("/example", "/another") else api
    return client.request(method, url, headers=headers, **options)


def _compare(example: Example, response: httpx.Response) -> None:
    body = example.answer
    if body.startswith("HTTP/1.1"):
        head, _, body = body.partition("\n\n")
        status, *headers = head.splitlines()
        shown = HTTPStatus(response.status_code)
        assert status == f"HTTP/1.1 {shown.value} {shown.phrase}"
        for header in headers:
            name, _, value = header.partition(": ")
            assert response.headers[name] == value
    else:
        assert response.status_code in (200, 201), response.text
    if body:
        assert _settled(response.json()) == _settled(json.loads(body)), example.calls
        assert json.dumps(_settled(response.json())) == json.dumps(_settled(json.loads(body)))


def _settled(value: Any) -> Any:
    """The same without what is another each time."""
    if isinstance(value, dict):
        return {
            name: "-" if name in ELSEWHERE else _settled(member) for name, member in value.items()
        }
    if isinstance(value, list):
        return [_settled(member) for member in value]
    return "a time" if isinstance(value, str) and TIME.fullmatch(value) else value
