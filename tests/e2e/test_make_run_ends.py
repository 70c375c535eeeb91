"""`make run`: how it ends, how it refuses to start, and what is left afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.local.accounts import unprivileged
from infra.local.data_dir import DataDir
from infra.local.leftovers import is_alive
from infra.local.options import Options
from infra.local.ports import HOST
from infra.local.stack import Stack
from infra.local.supervision import Supervisor, socket_of
from tests.support.ports import PortBlock
from tests.support.stack import STACK_PORTS, NewStack, StackProcess
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(120)


def test_each_signal_ends_it_leaving_its_data_and_nothing_running(
    new_stack: NewStack, folder: Path
) -> None:
    data_dir = folder / "kept; with % and 'quotes' # in it"
    codes: list[str] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        stack = new_stack(data_dir).start()
        for code in codes:
            answer = stack.http.get(f"/{code}")
            assert answer.headers["Location"] == "https://example.com/kept", "data outlives a run"
        codes.append(stack.shorten("https://example.com/kept"))
        everything = stack.everything()

        assert stack.end(number) == 0, f"{number.name} ends it"

        assert everything.left() == [], f"{number.name} leaves nothing running"
        assert not (data_dir / "run.json").exists()
        assert not socket_of(data_dir).parent.exists()


def test_a_run_ends_what_a_crash_left_behind_and_takes_all_with_it_when_killed(
    new_stack: NewStack, used_data: Path
) -> None:
    crashed = new_stack(used_data).start()
    code = crashed.shorten("https://example.com/kept")
    left_behind = crashed.everything()
    supervisor = crashed.supervisor()
    os.kill(crashed.pid, signal.SIGSTOP)
    supervisor.kill()
    os.kill(crashed.pid, signal.SIGKILL)
    wait_for(lambda: crashed.exit_code is not None, "the launcher to be gone")
    assert crashed.works(), "the services outlived both"

    again = new_stack(used_data, port=crashed.port).start()

    assert left_behind.left_processes() == []
    assert again.http.get(f"/{code}").status_code == 302

    everything = again.everything()
    os.kill(again.pid, signal.SIGKILL)

    everything.wait_until_gone()
    assert not (used_data / "run.json").exists()
    assert not socket_of(used_data).parent.exists()


# Only Linux tells which signals another process still handles.
_HEARD = [signal.SIGKILL, signal.SIGINT] if sys.platform == "linux" else [signal.SIGKILL]


@pytest.mark.parametrize("number", _HEARD)
def test_a_signal_to_make_alone_ends_it(
    new_stack: NewStack, used_data: Path, number: signal.Signals
) -> None:
    stack = new_stack(used_data, command=("make", "--no-print-directory", "run")).start()
    everything = stack.everything()

    stack.send_signal(number)

    everything.wait_until_gone()


@pytest.mark.xdist_group("stack")
def test_two_runs_on_the_same_data_are_refused(stack: StackProcess, new_stack: NewStack) -> None:
    line = _refused(new_stack(stack.data_dir))

    assert f"another make run (process {stack.pid}) already uses {stack.data_dir}" in line
    assert stack.works()


def test_a_taken_port_is_refused(new_stack: NewStack, ports: PortBlock) -> None:
    port = ports.free_port()
    with socket.create_server((HOST, port)):
        line = _refused(new_stack(port=port))

    assert f"port {port} is taken; choose another: make run PORT=" in line


def test_an_unwritable_data_folder_is_refused(new_stack: NewStack, folder: Path) -> None:
    (folder / "file").touch()

    line = _refused(new_stack(folder / "file" / "data"))

    assert f"can't write to {folder / 'file' / 'data'}" in line
    assert "give DATA_DIR a folder" in line


def test_data_of_another_postgresql_is_refused(new_stack: NewStack, folder: Path) -> None:
    data = folder / "old" / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n")
    account = unprivileged()
    if account is not None:
        account.give(data)

    line = _refused(new_stack(folder / "old"))

    assert "was made by PostgreSQL 12" in line
    assert "give DATA_DIR another folder" in line


def test_a_setting_that_is_no_number_is_refused(new_stack: NewStack) -> None:
    assert "REDIRECTORS=two is no number" in _refused(new_stack(REDIRECTORS="two"))


def test_a_program_that_dies_at_its_start_ends_it_with_its_reason(
    new_stack: NewStack, used_data: Path
) -> None:
    line = _refused(new_stack(used_data, LOG_LEVEL="LOUD"))

    assert "can't start: hoplink: setting LOG_LEVEL" in line
    assert "logs" in line


def _refused(stack: StackProcess) -> str:
    """The one line that a stack ended with, having left no process behind."""
    stack.launch()
    before = psutil.Process(stack.pid)
    seen: set[psutil.Process] = set()
    while stack.exit_code is None:
        try:
            seen |= set(before.children(recursive=True))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    assert stack.wait_ended() == 1
    assert [process for process in seen if is_alive(process)] == []
    (line,) = stack.log.text.splitlines()
    assert line.startswith("hoplink: ")
    return line


def test_a_process_with_the_id_of_a_killed_postgres_is_not_in_its_way(
    used_data: Path, ports: PortBlock
) -> None:
    """Ids come round: after a crash, postmaster.pid may name another process of its user."""
    port = ports.free_port(followed_by=STACK_PORTS)
    options = Options.from_env({"PORT": str(port), "DATA_DIR": str(used_data), "MONITORING": "off"})
    account = unprivileged()
    claimed = DataDir.claim(options, account)
    stack = Stack(options, claimed.path, account)
    stack.prepare()
    (database,) = (part for part in stack.parts if part.program.name == "postgres")
    lock_file = used_data / "postgres" / "data" / "postmaster.pid"
    supervisor = Supervisor(used_data, [part.program for part in stack.parts])
    other = subprocess.Popen(["sleep", "60"], user=account.uid if account else None)
    try:
        lock_file.write_text(f"{other.pid}\n{lock_file.parent}\n0\n0\n\n\n")
        supervisor.start()
        supervisor.start_program("postgres")
        wait_for(database.is_ready, "PostgreSQL to answer")
    finally:
        supervisor.stop()
        claimed.release()
        other.kill()
        other.wait()
