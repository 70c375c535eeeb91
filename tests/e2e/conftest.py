"""A running stack, one for all the tests of a test process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.ports import PortBlock
from tests.support.processes import Log
from tests.support.stack import LAUNCHER, STACK_PORTS, NewStack, StackProcess
from tests.support.stores import scratch_folder
from tests.support.waiting import wait_for


@pytest.fixture(scope="session")
def shared_stack(
    server_folder: Path, ports: PortBlock, watch_log: Callable[[Log], None]
) -> Iterator[StackProcess]:
    process = StackProcess(
        ports.free_port(followed_by=STACK_PORTS),
        server_folder / "shared stack",
        log=server_folder / "stack.log",
        REDIRECTORS="2",
    )
    watch_log(process.log)
    try:
        yield process.start()
    finally:
        process.close()


@pytest.fixture
def stack(shared_stack: StackProcess) -> StackProcess:
    """A stack with two redirectors that works. What a test kills comes back by itself."""
    wait_for(
        # It may serve again before what was started anew is in run.json.
        lambda: shared_stack.is_complete() and shared_stack.works(),
        "the stack to work",
        seconds=20,
    )
    return shared_stack


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that every account can enter."""
    with scratch_folder() as path:
        yield path


@pytest.fixture(scope="session")
def used_data(server_folder: Path) -> Path:
    """A data folder that one test after the other uses: a run on it needn't make a database."""
    return server_folder / "used data"


@pytest.fixture
def new_stack(
    folder: Path, ports: PortBlock, watch_log: Callable[[Log], None]
) -> Iterator[NewStack]:
    """Makes stacks of a test's own and ends them after it."""
    made: list[StackProcess] = []

    def make(
        data_dir: Path | None = None,
        *,
        port: int | None = None,
        command: Sequence[str] = LAUNCHER,
        **settings: str,
    ) -> StackProcess:
        process = StackProcess(
            port or ports.free_port(followed_by=STACK_PORTS),
            data_dir or folder / f"data-{len(made)}",
            log=folder / f"stack-{len(made)}.log",
            command=command,
            **settings,
        )
        watch_log(process.log)
        made.append(process)
        return process

    yield make
    for process in reversed(made):
        process.close()
