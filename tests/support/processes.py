"""A server as a process of its own, which a test may stop, kill, freeze and start again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from infra.local.accounts import Account, run_as
from infra.local.leftovers import is_alive
from tests.support.waiting import wait_for


class Log:
    """A process's output, in a file, and how much of it belongs to earlier tests."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._mark = 0

    @property
    def text(self) -> str:
        """All of it."""
        return self._from(0)

    @property
    def recent(self) -> str:
        """What was written since `mark`, the last 20,000 characters of it."""
        return self._from(self._mark)[-20_000:]

    def mark(self) -> None:
        self._mark = self.path.stat().st_size if self.path.exists() else 0

    def _from(self, position: int) -> str:
        if not self.path.exists():
            return ""
        with self.path.open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")


class ServerProcess:
    """A server in a session of its own; the same port, data and log each time it starts."""

    STOP_SIGNAL = signal.SIGTERM

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        cwd: Path = Path("/"),
        account: Account | None = None,
    ) -> None:
        self.name = name
        self.log = Log(name, log)
        self._argv = argv
        self._environ = environ
        self._cwd = cwd
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None
        self._is_frozen = False

    def is_ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        assert self._process is not None
        return self._process.poll()

    def start(self) -> Self:
        """Starts it and waits until it answers."""
        self.launch()
        wait_for(self._is_up, f"{self.name} to answer", seconds=20)
        return self

    def launch(self) -> None:
        """Starts it without waiting."""
        assert not self.is_running
        self._is_frozen = False
        with self.log.path.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environ,
                cwd=self._cwd,
                start_new_session=True,
                **run_as(self._account),
            )

    def stop(self, *, seconds: float = 15) -> None:
        """Asks it to end, and waits; what is still there after `seconds` is killed."""
        if self.is_running:
            self.thaw()
            self._running().send_signal(self.STOP_SIGNAL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._running().wait(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to all of its processes at once; returns when they are gone."""
        if self._process is None:
            return
        processes = self._stop_all()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        wait_for(
            lambda: not any(is_alive(process) for process in processes),
            f"all of {self.name} to be gone",
        )

    def restart(self) -> None:
        """Stops it and starts it again on the same port and data."""
        self.stop()
        self.start()

    def send_signal(self, number: int) -> None:
        """Sends a signal to the process itself, not to its children."""
        self._running().send_signal(number)

    def freeze(self) -> None:
        """Stops all of its processes where they are; their sockets stay open."""
        self._is_frozen = True
        self._stop_all()

    def thaw(self) -> None:
        """The reverse of `freeze`."""
        if not self._is_frozen:
            return
        for process in self._tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self._is_frozen = False

    def heal(self) -> None:
        """Brings it back to work, whatever a test did to it."""
        if self.is_running:
            self.thaw()
            wait_for(self._is_up, f"{self.name} to answer again", seconds=20)
        else:
            self.start()

    def _stop_all(self) -> list[psutil.Process]:
        # One that is stopped starts no others, so the second look finds all there are.
        for _ in range(2):
            processes = self._tree()
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
        return processes

    def _tree(self) -> list[psutil.Process]:
        """All of its processes, also when the first one is gone."""
        session = self._running().pid
        members = [process for process in psutil.process_iter() if _session(process) == session]
        found = {process.pid: process for process in members}
        for process in members:
            # PostgreSQL's children have sessions of their own.
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {child.pid: child for child in process.children(recursive=True)}
        return list(found.values())

    def _is_up(self) -> bool:
        if not self.is_running:
            raise AssertionError(
                f"{self.name} ended with {self.exit_code} before it answered:\n{self.log.recent}"
            )
        return self.is_ready()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was never started"
        return self._process


def inherited_environ() -> dict[str, str]:
    """The environment of a service without any setting of this machine in it."""
    names = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_CONFIG")
    return {name: os.environ[name] for name in names if name in os.environ}


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None
