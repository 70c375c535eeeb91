"""What a log entry looks like, and what never gets into one."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared import request_ids
from shared.logging import (
    MAX_TEXT,
    MAX_TRACE,
    REQUESTS,
    EntryFormatter,
    JsonLines,
    secrets_of,
)
from shared.repeat_limit import BURST, RepeatLimit
from shared.settings import Settings

PASSWORD = "correct horse/battery"


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def handler(output: io.StringIO) -> JsonLines:
    return JsonLines(output, RepeatLimit(), EntryFormatter("api", [PASSWORD]))


@pytest.fixture
def log(handler: JsonLines) -> Iterator[logging.Logger]:
    token = request_ids.CURRENT.set("")
    logger = logging.Logger("hoplink.test", logging.INFO)  # noqa: LOG001  # nobody else listens
    logger.addHandler(handler)
    yield logger
    request_ids.CURRENT.reset(token)


@pytest.fixture
def entry(output: io.StringIO) -> Callable[[], dict[str, Any]]:
    """The one entry that was written."""

    def read() -> dict[str, Any]:
        (line,) = output.getvalue().splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    return read


Entry = Callable[[], dict[str, Any]]


def _fail(reason: str) -> None:
    raise ValueError(reason)


def test_an_entry_says_when_who_and_what(log: logging.Logger, entry: Entry) -> None:
    before = datetime.now(UTC)
    log.warning("store %s", "is down", extra={"store": "redis", "tries": 3, "late": True})

    found = entry()
    assert list(found)[:5] == ["time", "level", "service", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])
    assert abs((datetime.fromisoformat(found.pop("time")) - before).total_seconds()) < 5
    assert found == {
        "level": "WARNING",
        "service": "api",
        "logger": "hoplink.test",
        "message": "store is down",
        "store": "redis",
        "tries": 3,
        "late": True,
    }


@pytest.mark.parametrize(
    "text",
    ['a\n{"level": "ERROR"}', "\x1b[31mred", 'quotes " and \\', "\u2028", "\ud800", "\x00"],
    ids=["entry", "colour", "quotes", "line separator", "surrogate", "NUL"],
)
def test_no_text_breaks_out_of_its_line(
    log: logging.Logger, output: io.StringIO, text: str
) -> None:
    log.info("%s", text, extra={"path": text})

    (line,) = output.getvalue().split("\n")[:-1]
    assert json.loads(line)["message"] == json.loads(line)["path"] == text
    assert "\x1b" not in line


def test_what_json_has_no_form_for_is_written_all_the_same(
    log: logging.Logger, entry: Entry
) -> None:
    log.info("odd", extra={"huge": 2**70, "names": {"a"}, "raw": b"\xff", "nothing": None})

    assert entry()["huge"] == 2**70
    assert entry()["names"] == "{'a'}"
    assert entry()["nothing"] is None


def test_every_text_is_bounded(log: logging.Logger, output: io.StringIO, entry: Entry) -> None:
    try:
        _fail("x" * 100_000 + "the end")
    except ValueError:
        log.exception("y" * 100_000, extra={"path": "z" * 100_000})

    assert len(entry()["message"]) == len(entry()["path"]) == MAX_TEXT
    assert len(entry()["exc_info"]) == MAX_TRACE
    assert entry()["exc_info"].endswith("the end")
    assert len(output.getvalue()) < 2 * MAX_TEXT + MAX_TRACE + 500


def test_an_error_has_its_trace(log: logging.Logger, entry: Entry) -> None:
    try:
        _fail("no such thing")
    except ValueError:
        log.exception("failed")

    assert entry()["exc_info"].startswith("Traceback")
    assert entry()["exc_info"].endswith("ValueError: no such thing")


def test_an_entry_carries_the_id_of_its_request(log: logging.Logger, entry: Entry) -> None:
    token = request_ids.CURRENT.set("0123456789abcdef")
    log.info("within")
    request_ids.CURRENT.reset(token)

    assert entry()["request_id"] == "0123456789abcdef"


@pytest.mark.parametrize("secret", [PASSWORD, "postgresql://ada:hunter2@db/x", "redis://:k@h/0"])
def test_secrets_are_blotted_out(log: logging.Logger, output: io.StringIO, secret: str) -> None:
    try:
        _fail(f"invalid dsn: {secret}")
    except ValueError as error:
        log.exception("failed: %s", secret, extra={"reason": str(error)})

    for word in (PASSWORD, "hunter2", ":k@"):
        assert word not in output.getvalue()
    assert output.getvalue().count("***") >= 3


def test_passwords_of_stores_are_secrets_in_both_spellings() -> None:
    settings = Settings.from_env(
        {
            "DATABASE_URL": "postgresql://ada:correct%20horse@db/hoplink",
            "REDIS_URL": "redis://:battery@cache/0",
        }
    )

    assert set(secrets_of(settings)) == {"correct%20horse", "correct horse", "battery"}


@pytest.mark.parametrize("password", ["hoplink", "ada", "pw", ""])
def test_a_password_that_is_a_name_is_no_secret(password: str) -> None:
    """Entries would be full of holes, and hide nothing."""
    settings = Settings.from_env(
        {
            "DATABASE_URL": f"postgresql://ada:{password}@db/hoplink",
            "REDIS_URL": "redis://cache/0",
        }
    )

    assert list(secrets_of(settings)) == []


def test_a_flood_is_held_back_and_counted(
    log: logging.Logger, output: io.StringIO, handler: JsonLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(BURST + 5):
        log.warning("Invalid HTTP request received.")
    assert output.getvalue().count("\n") == BURST

    monkeypatch.setattr(handler._limit, "_ends", 0.0)
    handler.summarise()

    summary = json.loads(output.getvalue().splitlines()[-1])
    assert summary["held_back"] == 5
    assert "Invalid HTTP request received." in summary["message"]


def test_no_entry_of_a_request_is_held_back(handler: JsonLines, output: io.StringIO) -> None:
    for _ in range(10 * BURST):
        handler.request(logging.INFO, {"status": 200}, fed=True)

    assert output.getvalue().count("\n") == 10 * BURST


@pytest.mark.parametrize("path", ["/" + "x" * 9_999, "/\ud800", '/\n{"level": "ERROR"}'])
def test_the_entry_of_a_request_is_one_bounded_line(
    handler: JsonLines, entry: Entry, path: str
) -> None:
    handler.request(logging.WARNING, {"path": path, "status": 500}, fed=True)

    found = entry()
    assert (found["level"], found["logger"], found["status"]) == ("WARNING", REQUESTS, 500)
    assert found["path"] == path[:MAX_TEXT]


def test_the_entry_of_a_request_that_cannot_be_written_fails_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    closed = io.StringIO()
    closed.close()
    handler = JsonLines(closed, RepeatLimit(), EntryFormatter("api"))
    handler.request(logging.INFO, {"status": 200}, fed=True)

    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["0123456789abcdef", "f.e_d-cba9876543210", "a" * 64])
def test_a_well_formed_request_id_is_taken(given: str) -> None:
    assert request_ids.accepted(given) == given


@pytest.mark.parametrize("given", ["", "short", "a" * 65, "0123456789abcdef\n", "<script>aaaaaaaa"])
def test_any_other_request_id_is_replaced(given: str) -> None:
    ids = {request_ids.accepted(given) for _ in range(2)}

    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)
