"""Programs of Prometheus and Alertmanager, from this machine's packages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import httpx

from infra.local.monitoring import ALERTMANAGER, Alertmanager
from shared.settings import AlertSettings
from tests.support.processes import ServerProcess
from tests.support.services import get

PACKAGES = "apt-get install prometheus prometheus-alertmanager"


def program(*names: str) -> str:
    """The path of the first of these programs that is there; fails the test without any."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise AssertionError(f"{names[0]} is not installed: {PACKAGES}")


def run(*command: object) -> str:
    """What a program says; fails the test when it says so by failing itself."""
    done = subprocess.run(
        [program(str(command[0])), *map(str, command[1:])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class AlertmanagerProcess(ServerProcess):
    """Alertmanager with what is rendered from `settings`, which `folder` gets."""

    def __init__(self, folder: Path, port: int, settings: AlertSettings) -> None:
        self._server = Alertmanager(Path(program(*ALERTMANAGER)), folder, port, settings)
        self._server.prepare(None)
        super().__init__("alertmanager", self._server.argv, log=folder.with_suffix(".log"))
        self.url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        try:
            return get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False
