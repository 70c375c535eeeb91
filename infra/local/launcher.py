"""Starts the stack in order, watches over it, and stops it in order."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from xmlrpc.client import Fault

import psycopg2
from peewee import PeeweeException

from infra.local import leftovers, report
from infra.local.accounts import unprivileged
from infra.local.data_dir import DataDir
from infra.local.errors import StackError
from infra.local.options import Options, pointer
from infra.local.ports import is_free
from infra.local.programs import Stage
from infra.local.run_file import RUN_FILE, RunFile
from infra.local.stack import Part, Stack
from infra.local.supervision import State, Supervisor
from shared.migrations import migrate

READY_SECONDS = 60
"""A stage that takes longer has failed; usually it takes one."""
WATCH_SECONDS = 0.25

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Somebody asked us to stop. No error, so nothing that handles errors catches it."""


@contextmanager
def stop_signals() -> Iterator[None]:
    """Within it, the first Ctrl-C, SIGTERM or hang-up raises Stopped; later ones do nothing."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    yield


class Launcher:
    """One run of the stack, from the check of what was asked for to the last process's end."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._account = unprivileged()

    def run(self) -> None:
        """Returns only by raising Stopped, or StackError; by then nothing runs any more."""
        data_dir = DataDir.claim(self._options, self._account)
        try:
            if data_dir.moved:
                report.say(
                    f"Data is kept in {data_dir.path}: "
                    f"PostgreSQL can't run as root, and others can't enter this folder."
                )
            self._run(data_dir.path)
        finally:
            data_dir.release()

    def _run(self, data_dir: Path) -> None:
        began = time.monotonic()
        # Of a run whose launcher and supervisor were both killed.
        leftovers.end_all(data_dir, supervisor_seconds=60)
        self._check_port()
        stack = Stack(self._options, data_dir, self._account)
        stack.prepare()
        run_file = RunFile(data_dir, pointer())
        while True:
            supervisor = Supervisor(data_dir, [part.program for part in stack.parts])
            try:
                _bring_up(stack, supervisor, data_dir)
                run_file.write(stack.describe(_in_place(data_dir, _pids(supervisor.states()))))
                report.say(self._ready(stack, data_dir, time.monotonic() - began))
                _watch(stack, supervisor, data_dir, run_file)
            finally:
                run_file.remove()
                supervisor.stop()
                leftovers.end_all(data_dir, supervisor_seconds=0)
            report.complain("the supervisor ended; starting everything again")
            began = time.monotonic()

    def _check_port(self) -> None:
        port = self._options.port
        if not is_free(port):
            raise StackError(
                f"port {port} is taken; choose another: make run PORT={port + 1000 - port % 1000}"
            )

    @staticmethod
    def _ready(stack: Stack, data_dir: Path, seconds: float) -> str:
        return report.ready(
            stack.front_url,
            data_dir,
            data_dir / RUN_FILE,
            seconds,
            monitoring=stack.monitoring_said,
        )


def _bring_up(stack: Stack, supervisor: Supervisor, data_dir: Path) -> None:
    supervisor.start()
    for stage in (Stage.STORES, Stage.SERVICES, Stage.FRONT):
        _start(stack.stage(stage), supervisor, data_dir)
        if stage is Stage.STORES:
            _migrate(stack)
    for part in stack.stage(Stage.MONITORING):
        supervisor.start_program(part.program.name)


def _start(parts: Sequence[Part], supervisor: Supervisor, data_dir: Path) -> None:
    """Starts the parts of a stage and waits until all of them answer."""
    logs = {part.program.name: data_dir / "logs" / f"{part.program.name}.log" for part in parts}
    marks = {name: log.stat().st_size if log.exists() else 0 for name, log in logs.items()}
    for part in parts:
        supervisor.start_program(part.program.name)
    first = _pids(supervisor.states())
    waiting = list(parts)
    deadline = time.monotonic() + READY_SECONDS
    while waiting:
        states = supervisor.states()
        for part in parts:
            name = part.program.name
            # On a slow machine one may live for a second before it dies of its settings.
            if states[name].failed or states[name].pid != first[name]:
                raise _failure(states[name], logs[name], marks[name])
        waiting = [part for part in waiting if not part.is_ready()]
        if waiting and time.monotonic() > deadline:
            names = ", ".join(part.program.name for part in waiting)
            folder = report.readable(data_dir / "logs")
            raise StackError(f"not ready after {READY_SECONDS} s: {names}; see {folder}")
        time.sleep(0.02)


def _failure(state: State, log: Path, mark: int) -> StackError:
    with log.open("rb") as file:
        file.seek(mark)
        output = file.read().decode(errors="replace")
    # The supervisor's own word is of use only when the program never ran.
    reason = report.reason(output) or state.problem
    return StackError(f"{state.name} can't start: {reason} (more in {report.readable(log)})")


def _migrate(stack: Stack) -> None:
    try:
        migrate(stack.database.url)
    except (psycopg2.Error, PeeweeException) as error:
        raise StackError(
            f"the database can't be migrated: {' '.join(str(error).split())}"
        ) from error


def _watch(stack: Stack, supervisor: Supervisor, data_dir: Path, run_file: RunFile) -> None:
    """Keeps run.json current and tells of what died; returns when the supervisor did."""
    before = _pids(supervisor.states())
    while True:
        time.sleep(WATCH_SECONDS)
        try:
            states = supervisor.states()
            for state in states.values():
                if state.given_up:
                    supervisor.start_program(state.name)
        except (OSError, Fault):  # gone, or answering while it stops
            return
        pids = _pids(states)
        for name, pid in pids.items():
            if pid is not None and pid != before[name]:
                report.complain(f"{name} ended and was started again, process {pid}")
        run_file.write(stack.describe(_in_place(data_dir, pids)))
        before = {name: pid or before[name] for name, pid in pids.items()}


def _pids(states: Mapping[str, State]) -> dict[str, int | None]:
    return {name: state.pid for name, state in states.items()}


def _in_place(data_dir: Path, pids: Mapping[str, int | None]) -> dict[str, int | None]:
    """Without those that are still ending what the process before left."""
    records = {name: leftovers.load(data_dir, name) for name in pids}
    return {
        name: pid if (record := records[name]) is not None and record.pid == pid else None
        for name, pid in pids.items()
    }
