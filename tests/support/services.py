"""Hoplink's services as processes."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import httpx

from tests.support.ports import PortBlock
from tests.support.processes import Log, ServerProcess, inherited_environ

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("redirector", "api", "worker")
BASE_URL = "http://127.0.0.1:5001"

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""To read those of the machine takes a client as long as twenty requests."""


def http_client(url: str) -> httpx.Client:
    """A client that follows no redirect and knows no proxy."""
    return httpx.Client(
        base_url=url,
        follow_redirects=False,
        timeout=10,
        trust_env=False,
        verify=url.startswith("https:") or _NO_CERTIFICATES,
    )


def get(url: str, **parameters: str) -> httpx.Response:
    """The answer to one request by a client of its own. Raises httpx.TransportError."""
    with http_client(url) as client:
        return client.get(url, params=parameters or None)


class ServiceProcess(ServerProcess):
    """One service, started the way a deployment starts it: by its settings alone."""

    def __init__(self, name: str, port: int, settings: Mapping[str, str], *, log: Path) -> None:
        assert name in SERVICES
        prefix = name.upper()
        super().__init__(
            name,
            [sys.executable, "-m", f"services.{name}"],
            log=log,
            environ={
                **inherited_environ(),
                # What one that is killed leaves behind goes with the logs.
                "TMPDIR": str(log.parent),
                "BASE_URL": BASE_URL,
                **settings,
                f"{prefix}_HOST": "127.0.0.1",
                f"{prefix}_PORT": str(port),
            },
            cwd=ROOT,
        )
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.http = http_client(self.url)

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Ends it and its client for good."""
        self.kill()
        self.http.close()


class StartService(Protocol):
    """Starts a service; settings by their variables' names."""

    def __call__(self, name: str, **settings: str) -> ServiceProcess: ...


class Services:
    """Starts services and ends them all when it is left."""

    def __init__(self, ports: PortBlock, logs: Path, started: Callable[[Log], None]) -> None:
        self._ports = ports
        self._logs = logs
        self._started = started
        self._services: list[ServiceProcess] = []

    def start(self, name: str, **settings: str) -> ServiceProcess:
        """Starts a service and waits for its /health; settings by their variables' names."""
        service = self.prepare(name, **settings)
        service.start()
        return service

    def prepare(self, name: str, **settings: str) -> ServiceProcess:
        """As `start`, for a test that starts it itself."""
        log = self._logs / f"{name}-{len(self._services)}.log"
        service = ServiceProcess(name, self._ports.free_port(), settings, log=log)
        self._services.append(service)
        self._started(service.log)
        return service

    def close(self) -> None:
        for service in reversed(self._services):
            service.close()
