"""Processes that outlived the one that started them, and their end.

A program killed alone leaves its children: nginx's workers hold its port, PostgreSQL's hold its
shared memory. A supervisor killed alone leaves everything. So each process is written down
before it becomes a server, and whoever starts the same thing again ends what is left of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

from infra.local.programs import FOLDER, Program, load_all

SUPERVISOR = "supervisor"


@dataclass(frozen=True)
class Record:
    """The process that leads a session. The time tells it from a later one with the same id."""

    pid: int
    started: float

    @classmethod
    def of_this_process(cls) -> Self:
        return cls(os.getpid(), psutil.Process().create_time())

    def process(self) -> psutil.Process | None:
        """The process, if it is still there."""
        try:
            process = psutil.Process(self.pid)
            return process if process.create_time() == self.started else None
        except psutil.NoSuchProcess:
            return None

    def save(self, data_dir: Path, name: str) -> None:
        scratch = _file(data_dir, name).with_suffix(".new")
        scratch.write_text(json.dumps(asdict(self)))
        scratch.replace(_file(data_dir, name))


def load(data_dir: Path, name: str) -> Record | None:
    """The process that was written down last under `name`."""
    try:
        return Record(**json.loads(_file(data_dir, name).read_text()))
    except FileNotFoundError:
        return None


def end_leftovers(program: Program, record: Record) -> None:
    """Kills what is left of `program`, whose first process was `record`'s."""
    # One that was killed may have started another a moment before.
    for _ in range(3):
        found = list(_members(program, record))
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _wait(found, seconds=5)


def end_all(data_dir: Path, *, supervisor_seconds: float) -> None:
    """Ends whatever runs of the stack in `data_dir`, in order, and forgets it.

    A supervisor that is there has `supervisor_seconds` to do so itself.
    """
    record = load(data_dir, SUPERVISOR)
    supervisor = record.process() if record else None
    if supervisor is not None:
        _end(supervisor, signal.SIGTERM, supervisor_seconds)
    for program in load_all(data_dir):
        record = load(data_dir, program.name)
        if record is None:
            continue
        leader = record.process()
        if leader is not None:
            _end(leader, signal.Signals[f"SIG{program.stop_signal}"], program.stop_seconds)
        end_leftovers(program, record)
    for file in (data_dir / FOLDER).glob("*"):
        file.unlink()


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that ended holds nothing, also while nobody has asked after it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(process: psutil.Process, number: signal.Signals, seconds: float) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()
        process.send_signal(number)
    _wait([process], seconds)
    if is_alive(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        _wait([process], seconds=5)


def _wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(is_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.01)


def _members(program: Program, record: Record) -> Iterator[psutil.Process]:
    """The processes of `program`: of its session, and working in its folder.

    The kernel gives no process the id of a session that has members. Should the session be gone
    and its id be another's by now, the folder tells them apart.
    """
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if program.scatters:
                ours = process.name() == Path(program.argv[0]).name
            else:
                ours = os.getsid(process.pid) == record.pid
            if ours and is_alive(process) and process.cwd() == str(program.folder):
                yield process
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or belongs to somebody else


def _file(data_dir: Path, name: str) -> Path:
    return data_dir / FOLDER / f"{name}.pid"
