"""The sample data is what its generator makes, and agrees with itself."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from seed import generate


def read(name: str) -> list[dict[str, str]]:
    with (generate.FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_generator_makes_the_same_files_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = generate.FOLDER
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    generate.main()
    for name in ("users.csv", "urls.csv", "events.csv"):
        assert (tmp_path / name).read_bytes() == (committed / name).read_bytes()


def test_there_is_as_much_of_it_as_promised() -> None:
    links, events = read("urls.csv"), read("events.csv")
    assert len(read("users.csv")) == 400
    assert len(links) == 2_000
    assert 3_300 < len(events) < 3_500
    inactive = [link for link in links if link["is_active"] == "False"]
    assert 100 < len(inactive) < 250
    assert {event["event_type"] for event in events} == {"created", "updated", "deleted"}


def test_each_link_is_what_its_audit_log_says() -> None:
    logs: dict[str, list[dict[str, str]]] = defaultdict(list)
    for event in read("events.csv"):
        logs[event["url_id"]].append(event)
    users = {user["id"]: user for user in read("users.csv")}
    for link in read("urls.csv"):
        first, *later = logs.pop(link["id"])
        assert first["event_type"] == "created"
        assert first["timestamp"] == link["created_at"] > users[link["user_id"]]["created_at"]
        now: dict[str, Any] = {**json.loads(first["details"]), "is_active": True}
        for event in later:
            for name, change in json.loads(event["details"])["changes"].items():
                assert now[name] == change["from"]
                now[name] = change["to"]
        assert [first, *later][-1]["timestamp"] == link["updated_at"]
        assert link["short_code"] == now["short_code"]
        assert link["original_url"] == now["original_url"]
        assert (link["title"] or None) == now["title"]
        assert link["is_active"] == str(now["is_active"])
    assert not logs


def test_names_and_codes_are_not_given_twice() -> None:
    users, links = read("users.csv"), read("urls.csv")
    for rows, column in ((users, "username"), (users, "email"), (links, "short_code")):
        assert len({row[column] for row in rows}) == len(rows)
