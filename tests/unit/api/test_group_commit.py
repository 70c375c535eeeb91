"""Several threads have one of them do their work."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from services.api.group_commit import MAX_TOGETHER, GroupCommit
from tests.support.waiting import wait_for


class Work:
    """Doubles numbers, as soon as it may go on; refuses a batch with a negative one."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go_on = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.may_go_on.wait(10)
        if min(items) < 0:
            raise ValueError(min(items))
        return [item * 2 for item in items]


def test_a_lone_item_is_worked_on_at_once() -> None:
    work = Work()
    work.may_go_on.set()
    together = GroupCommit(work)
    assert [together.do(item) for item in (1, 2, 3)] == [2, 4, 6]
    assert work.batches == [[1], [2], [3]]


def test_items_that_come_meanwhile_are_worked_on_together() -> None:
    work, results = _run([1, *range(2, 12)])
    assert results == [item * 2 for item in range(1, 12)]
    assert work.batches[0] == [1]
    assert sorted(work.batches[1]) == list(range(2, 12))
    assert len(work.batches) == 2


def test_what_the_work_raises_is_raised_for_each_of_the_items_and_no_others() -> None:
    work, results = _run([1, -2, 3, 4])
    assert results[0] == 2
    assert all(isinstance(result, ValueError) for result in results[1:])
    assert GroupCommit(work).do(5) == 10


def test_no_more_than_a_number_of_items_are_worked_on_together() -> None:
    work, results = _run(list(range(1, MAX_TOGETHER * 2)))
    assert results == [item * 2 for item in range(1, MAX_TOGETHER * 2)]
    assert [len(batch) for batch in work.batches] == [1, MAX_TOGETHER, MAX_TOGETHER - 2]


def _run(items: list[int]) -> tuple[Work, list[object]]:
    """The first item is worked on while the others come."""
    work = Work()
    together = GroupCommit(work)
    with ThreadPoolExecutor(len(items)) as threads:
        futures = [threads.submit(together.do, items[0])]
        wait_for(lambda: work.batches, "the work to begin")
        futures += [threads.submit(together.do, item) for item in items[1:]]
        wait_for(lambda: len(together._waiting) == len(items) - 1, "the others to wait")
        work.may_go_on.set()
        return work, [_outcome(future) for future in futures]


def _outcome(future: Future[int]) -> object:
    error = future.exception()
    return future.result() if error is None else error


def test_a_thread_that_waits_takes_no_part_in_the_work_of_others() -> None:
    work = Work()
    work.may_go_on.set()
    with pytest.raises(ValueError, match="-1"):
        GroupCommit(work).do(-1)
