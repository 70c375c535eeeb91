"""`python -m seed.load`"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from seed import load
from tests.support.api import create


def test_it_loads_all_three_files_and_a_second_time_changes_nothing(
    api: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(api.base_url)
    assert load.main(["--url", url]) == 0
    first = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in first] == [
        ["users", "400", "imported"],
        ["urls", "2000", "imported"],
        ["events", "3416", "imported"],
    ]
    assert load.main(["--url", f"{url}/"]) == 0
    assert all(" 0 imported" in line for line in capsys.readouterr().out.splitlines())


def test_it_finds_what_make_run_started(
    api: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_file = tmp_path / "run.json"
    run_file.write_text(json.dumps({"front": str(api.base_url)}))
    monkeypatch.setattr(load, "RUN_FILE", run_file)
    assert load.main([]) == 0


def test_it_says_so_when_nothing_is_running(
    free_port: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(load, "RUN_FILE", tmp_path / "run.json")
    for arguments in ([], ["--url", f"http://127.0.0.1:{free_port()}"]):
        assert load.main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("hoplink: ")
        assert "make run" in error


def test_what_does_not_fit_is_named(api: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    with (load.FOLDER / "users.csv").open(encoding="utf-8") as file:
        next(file)
        username = next(file).split(",")[1]
    create(api, "/users", username=username, email="other@example.com")
    assert load.main(["--url", str(api.base_url)]) == 1
    output = capsys.readouterr()
    assert "row 1: username: is taken" in output.out
    assert "users.csv" in output.err


def test_an_answer_that_is_no_summary_is_shown(
    any_api: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load.main(["--url", f"{any_api.base_url}/nonsense"]) == 1
    assert "404" in capsys.readouterr().err
