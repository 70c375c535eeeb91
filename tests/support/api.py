"""What tests ask of the API again and again."""

from __future__ import annotations

from typing import Any

import httpx


def create(api: httpx.Client, path: str, **values: object) -> dict[str, Any]:
    """What POST made of `values`."""
    response = api.post(path, json=values)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


def error_of(response: httpx.Response) -> str:
    """The message of a failure, which looks as every failure has to."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["error"]
    assert isinstance(body["error"], str)
    assert "Traceback" not in body["error"]
    return str(body["error"])
