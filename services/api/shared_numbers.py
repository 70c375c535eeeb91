"""The metrics of all worker processes of one API server as one.

prometheus_client keeps each number in a file of its process, and whoever is scraped adds up the
files. Processes are told apart by a slot of the server instead of by their ids: who takes the
place of one that ended goes on with its files. So counters never go backwards, and there are as
many files as processes run at the same time, however often they are restarted.
"""

from __future__ import annotations

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


class SharedNumbers:
    """A folder of such files, for one run of a server."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="hoplink-api-metrics-"))
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
