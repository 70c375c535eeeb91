"""A message that comes again and again is counted instead of written."""

from __future__ import annotations

import logging

import pytest

from shared.repeat_limit import BURST, MAX_MESSAGES, PERIOD_SECONDS, RepeatLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> RepeatLimit:
    return RepeatLimit(clock)


def record(message: str = "invalid", name: str = "a", *args: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, message, args, None)


def test_a_message_is_written_ten_times_a_period(limit: RepeatLimit, clock: Clock) -> None:
    assert [limit.admits(record()) for _ in range(BURST + 2)] == [True] * BURST + [False] * 2

    clock.now = PERIOD_SECONDS
    list(limit.summaries())

    assert limit.admits(record())


def test_messages_that_differ_in_their_values_only_are_the_same(limit: RepeatLimit) -> None:
    written = sum(limit.admits(record("refused: %s", "a", number)) for number in range(100))

    assert written == BURST


def test_other_messages_are_not_affected(limit: RepeatLimit) -> None:
    for _ in range(2 * BURST):
        limit.admits(record())

    assert limit.admits(record("another"))
    assert limit.admits(record(name="b"))


def test_what_was_held_back_is_said_once_with_its_number(limit: RepeatLimit, clock: Clock) -> None:
    for _ in range(BURST + 7):
        limit.admits(record())
    limit.admits(record("rare"))
    assert list(limit.summaries()) == [], "the period isn't over"

    clock.now = PERIOD_SECONDS
    (summary,) = limit.summaries()

    assert summary.getMessage() == "held back, as it came too often: invalid"
    assert (summary.name, summary.levelname) == ("a", "WARNING")
    assert summary.__dict__["held_back"] == limit.held_back == 7
    clock.now *= 2
    assert list(limit.summaries()) == []


def test_messages_that_are_new_each_time_neither_flood_nor_pile_up(limit: RepeatLimit) -> None:
    written = sum(limit.admits(record(f"message {number}")) for number in range(10_000))

    assert written == MAX_MESSAGES + BURST
    assert len(limit._counts) == MAX_MESSAGES + 1
