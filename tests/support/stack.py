"""The whole stack, as `make run` starts it."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import psutil

from infra.local.leftovers import end_all, is_alive
from infra.local.options import pointer
from infra.local.ports import is_listening
from infra.local.programs import FOLDER
from infra.local.run_file import RunFile
from infra.local.supervision import STOP_SECONDS, socket_of
from infra.local.supervisord import remove_socket
from tests.support.processes import ServerProcess, inherited_environ
from tests.support.services import ROOT, http_client
from tests.support.waiting import wait_for

LAUNCHER = (sys.executable, "-m", "infra.local")
STACK_PORTS = 15
"""More than a stack takes behind its front port."""


class StackProcess(ServerProcess):
    """A run of the local stack on `port`, with its data in `data_dir`, without monitoring."""

    def __init__(
        self,
        port: int,
        data_dir: Path,
        *,
        log: Path,
        command: Sequence[str] = LAUNCHER,
        **settings: str,
    ) -> None:
        super().__init__(
            "stack",
            command,
            log=log,
            environ=inherited_environ()
            | {"PORT": str(port), "DATA_DIR": str(data_dir), "MONITORING": "off"}
            | settings,
            cwd=ROOT,
        )
        self.port = port
        self.data_dir = data_dir
        self.url = f"http://127.0.0.1:{port}"
        self.http = http_client(self.url)
        self.ready_seconds = 0.0

    def start(self) -> Self:
        began = time.monotonic()
        super().start()
        self.ready_seconds = time.monotonic() - began
        return self

    def is_ready(self) -> bool:
        return "Hoplink is ready" in self.log.recent

    @property
    def run_json(self) -> Mapping[str, Any]:
        """What the stack tells tools."""
        content: Mapping[str, Any] = json.loads((self.data_dir / "run.json").read_text())
        return content

    @property
    def processes(self) -> Mapping[str, int]:
        """The process id of each program, by a name of its own; null for one that is away."""
        run = self.run_json
        named = {name: place["pid"] for name, place in run.items() if isinstance(place, dict)}
        numbered = {
            f"redirector-{number}": place["pid"]
            for number, place in enumerate(run["redirectors"], start=1)
        }
        return named | numbered

    @property
    def addresses(self) -> Mapping[str, str]:
        """The URL of each service, by the names of `processes`."""
        run = self.run_json
        return {
            "api": run["api"]["url"],
            "worker": run["worker"]["url"],
            **{
                f"redirector-{number}": place["url"]
                for number, place in enumerate(run["redirectors"], start=1)
            },
        }

    @property
    def ports(self) -> Sequence[int]:
        """Every port that something of the stack listens on."""
        run = self.run_json
        others = ("database", "redis", "prometheus", "alertmanager")
        urls = [*self.addresses.values(), *(run[name]["url"] for name in others if name in run)]
        return [self.port, *(int(httpx.URL(url).port or 0) for url in urls)]

    def supervisor(self) -> psutil.Process:
        (child,) = psutil.Process(self.pid).children()
        return child

    def shorten(self, url: str) -> str:
        """Makes a link and returns its code."""
        answer = self.http.post("/shorten", json={"url": url})
        assert answer.status_code == 201, answer.text
        code: str = answer.json()["short_code"]
        return code

    def is_complete(self) -> bool:
        """Whether it names its processes, and every one is there."""
        try:
            return all(pid and psutil.pid_exists(pid) for pid in self.processes.values())
        except FileNotFoundError:  # while everything is started again
            return False

    def works(self) -> bool:
        """Whether a new link can be made and followed through nginx."""
        try:
            made = self.http.post("/shorten", json={"url": "https://example.com/works"})
            if made.status_code != 201:
                return False
            followed = self.http.get(f"/{made.json()['short_code']}")
        except httpx.TransportError:
            return False
        return followed.status_code == 302

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal to the launcher and returns its exit code."""
        self.send_signal(number)
        return self.wait_ended()

    def wait_ended(self) -> int:
        wait_for(lambda: self.exit_code is not None, "the stack to end", seconds=STOP_SECONDS)
        assert self.exit_code is not None
        return self.exit_code

    def everything(self) -> Footprint:
        """All processes and ports it has now."""
        return Footprint(self._tree(), self.ports)

    def close(self) -> None:
        """Ends all of it for good, also what lost its launcher."""
        self.kill()
        if self.ready_seconds and (self.data_dir / FOLDER).is_dir():
            end_all(self.data_dir, supervisor_seconds=0)
            remove_socket(socket_of(self.data_dir))
            RunFile(self.data_dir, pointer()).remove()
        self.http.close()


class NewStack(Protocol):
    """Makes a stack, not started, with data of its own unless it is given a folder."""

    def __call__(
        self,
        data_dir: Path | None = None,
        *,
        port: int | None = None,
        command: Sequence[str] = LAUNCHER,
        **settings: str,
    ) -> StackProcess: ...


class Footprint:
    """Processes and ports that should be gone."""

    def __init__(self, processes: Sequence[psutil.Process], ports: Sequence[int]) -> None:
        self._processes = processes
        self._ports = ports
        assert len(processes) > 10, "a stack has more processes than that"

    def left_processes(self) -> list[psutil.Process]:
        """The processes that still run."""
        return [process for process in self._processes if is_alive(process)]

    def wait_until_gone(self) -> None:
        """Fails with what is still there after the time that a stack may take to stop."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not self.left(), "everything to end", seconds=STOP_SECONDS)
        assert self.left() == []

    def left(self) -> list[object]:
        """What of it is still there."""
        return [*self.left_processes(), *(port for port in self._ports if is_listening(port))]
