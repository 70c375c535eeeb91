"""What is ended before a program starts again, and what never is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local import leftovers
from infra.local.leftovers import Record, is_alive
from infra.local.programs import FOLDER, Program, Stage, load
from tests.support.waiting import wait_for

StartParent = Callable[[Path], tuple[subprocess.Popen[str], psutil.Process]]

PARENT = """\
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def start_parent() -> Iterator[StartParent]:
    """Starts a process that leads a session and has a child in it, both in a folder."""
    parents: list[subprocess.Popen[str]] = []
    children: list[psutil.Process] = []

    def start(folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.stdout.close()
        parents.append(parent)
        children.append(child)
        return parent, child

    yield start
    for parent in parents:
        parent.kill()
        parent.wait()
    for child in children:
        if is_alive(child):
            child.kill()


def _program(folder: Path) -> Program:
    return Program("api", (sys.executable,), folder, Stage.SERVICES)


def _record(process: subprocess.Popen[str]) -> Record:
    return Record(process.pid, psutil.Process(process.pid).create_time())


def test_the_child_of_a_killed_program_is_ended(tmp_path: Path, start_parent: StartParent) -> None:
    parent, child = start_parent(tmp_path)
    record = _record(parent)
    parent.kill()
    parent.wait()
    assert is_alive(child)

    leftovers.end_leftovers(_program(tmp_path), record)

    wait_for(lambda: not is_alive(child), "the child to end")


def test_a_session_that_works_elsewhere_is_somebody_elses(
    tmp_path: Path, start_parent: StartParent
) -> None:
    """The id of a program that ended long ago may be another session's by now."""
    parent, child = start_parent(tmp_path)

    leftovers.end_leftovers(_program(tmp_path / "elsewhere"), _record(parent))

    assert is_alive(child)
    assert parent.poll() is None


def test_a_process_with_the_same_id_and_another_start_is_another(
    tmp_path: Path, start_parent: StartParent
) -> None:
    parent, _ = start_parent(tmp_path)
    record = _record(parent)

    assert record.process() == psutil.Process(parent.pid)
    assert Record(record.pid, record.started - 60).process() is None


def test_everything_that_was_written_down_is_ended_and_forgotten(
    tmp_path: Path, start_parent: StartParent
) -> None:
    (tmp_path / FOLDER).mkdir()
    parent, child = start_parent(tmp_path)
    program = _program(tmp_path)
    program.save(tmp_path)
    _record(parent).save(tmp_path, program.name)
    leader = psutil.Process(parent.pid)

    leftovers.end_all(tmp_path, supervisor_seconds=0)

    assert not is_alive(leader)
    wait_for(lambda: not is_alive(child), "the child to end")
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_program_is_read_back_as_it_was_saved(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    program = Program(
        "nginx", ("a", "b c"), tmp_path / "x y", Stage.FRONT, environ={"A": "1"}, scatters=True
    )

    program.save(tmp_path)

    assert load(tmp_path, "nginx") == program
