"""The supervisor's process: supervisor's own, ended with the launcher that started it.

Works in DATA_DIR; takes supervisord's arguments.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

from infra.local.leftovers import SUPERVISOR, Record
from infra.local.run_file import RUN_FILE


class Options(ServerOptions):  # type: ignore[misc]  # supervisor has no types
    """Each program gets a session of its own, where supervisor gives it a process group."""

    def setpgrp(self) -> None:
        os.setsid()


class SignalAlarm(asyncore.dispatcher):  # type: ignore[misc]  # as above
    """Ends the supervisor's pause when a signal comes: by itself, Python pauses on after one."""

    def __init__(self) -> None:
        heard, rung = socket.socketpair()
        super().__init__(heard)
        rung.setblocking(False)
        signal.set_wakeup_fd(rung.fileno(), warn_on_full_buffer=False)
        self._rung = rung

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.recv(4096)


class LaunchedSupervisor(Supervisor):  # type: ignore[misc]  # as above
    """Stops everything in order once the process that started it is gone."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._launcher = os.getppid()

    def handle_signal(self) -> None:
        super().handle_signal()
        # What ended just now is started again without another pause.
        for group in self.process_groups.values():
            group.transition()

    def tick(self, now: float | None = None) -> None:
        # Called about once a second. A process whose parent died gets another one.
        super().tick(now)
        if os.getppid() != self._launcher:
            self.options.mood = SupervisorStates.SHUTDOWN


def main(arguments: Sequence[str]) -> None:
    Record.of_this_process().save(Path.cwd(), SUPERVISOR)
    options = Options()
    options.realize(arguments, doc=__doc__)
    options.first = True
    options.test = False
    SignalAlarm()
    try:
        LaunchedSupervisor(options).main()
    except asyncore.ExitNow:
        pass  # how it says that everything has stopped
    finally:
        # It may be the last one who can.
        Path(RUN_FILE).unlink(missing_ok=True)
        remove_socket(Path(os.environ["HOPLINK_SOCKET"]))


def remove_socket(path: Path) -> None:
    """Removes the socket and the folder that it has for itself, as far as they are there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


if __name__ == "__main__":
    main(sys.argv[1:])
