"""The metrics of all worker processes of one API server as one.

prometheus_client keeps each number in a file of its process, and whoever is scraped adds up the
files. Processes are told apart by a slot of the server instead of by their ids: who takes the
place of one that ended goes on with its files. So counters never go backwards, and there are as
many files as processes run at the same time, however often they are restarted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import prometheus_client.values
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

_PREFIX = "hoplink-api-metrics-"
_NEW_PREFIX = "hoplink-api-new-"


class SharedNumbers:
    """A folder of such files, for one run of a server. What killed servers left is removed."""

    def __init__(self) -> None:
        for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _remove_unless_held(folder)
        folder = Path(tempfile.mkdtemp(prefix=_NEW_PREFIX))
        # The server and its processes hold it as long as one of them lives. Under this name only
        # once it is held, lest another server that starts takes it for a leftover.
        self._hold = _hold(folder)
        held = folder.name.replace(_NEW_PREFIX, _PREFIX, 1)
        self._folder = folder.rename(folder.with_name(held))
        self._taken: set[int] = set()

    def take(self) -> int:
        """A slot for a process that is about to start. In the master."""
        slot = next(number for number in range(len(self._taken) + 1) if number not in self._taken)
        self._taken.add(slot)
        return slot

    def free(self, slot: int) -> None:
        """Its process ended: its counts stay, its gauges go. In the master."""
        self._taken.discard(slot)
        mark_process_dead(slot, str(self._folder))  # type: ignore[no-untyped-call]

    def enter(self, slot: int) -> None:
        """Has all metrics that this process makes from now on live in the files of `slot`."""
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self._folder)
        values = prometheus_client.values
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]

    def registry(self) -> CollectorRegistry:
        """What gives the sums."""
        registry = CollectorRegistry()
        registry.register(_Sums(self._folder))
        return registry

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._hold)


def _hold(folder: Path) -> int:
    """A descriptor that keeps `folder` locked; raises OSError if somebody else has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_unless_held(folder: Path) -> None:
    try:
        descriptor = _hold(folder)
    except OSError:
        return  # of a server that lives, of another user, or gone
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)


class _Sums(Collector):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        # A file is empty for the moment between its making and its first write.
        files = [str(file) for file in self._folder.glob("*.db") if _size(file)]
        sums: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return sums


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        # Its process has ended since.
        return 0
