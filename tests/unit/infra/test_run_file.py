"""run.json, and the link to it where tools look first."""

from __future__ import annotations

import json
from pathlib import Path

from infra.local.run_file import RUN_FILE, RunFile


def _folders(tmp_path: Path) -> tuple[Path, Path]:
    data_dir, checkout = tmp_path / "data", tmp_path / "checkout" / ".data" / RUN_FILE
    data_dir.mkdir()
    return data_dir, checkout


def test_data_that_was_moved_is_pointed_to(tmp_path: Path) -> None:
    data_dir, pointer = _folders(tmp_path)
    run_file = RunFile(data_dir, pointer)

    run_file.write({"front": "first"})
    run_file.write({"front": "second"})

    assert json.loads(pointer.read_text()) == {"front": "second"}
    assert pointer.readlink() == data_dir / RUN_FILE


def test_both_are_gone_afterwards(tmp_path: Path) -> None:
    data_dir, pointer = _folders(tmp_path)
    run_file = RunFile(data_dir, pointer)
    run_file.write({"front": "here"})

    run_file.remove()

    assert list(data_dir.iterdir()) == []
    assert list(pointer.parent.iterdir()) == []


def test_a_stack_that_runs_keeps_its_pointer(tmp_path: Path) -> None:
    data_dir, pointer = _folders(tmp_path)
    pointer.parent.mkdir(parents=True)
    pointer.write_text("another's")
    run_file = RunFile(data_dir, pointer)

    run_file.write({"front": "here"})
    run_file.remove()

    assert pointer.read_text() == "another's"


def test_a_pointer_to_a_stack_that_is_gone_is_taken(tmp_path: Path) -> None:
    data_dir, pointer = _folders(tmp_path)
    pointer.parent.mkdir(parents=True)
    pointer.symlink_to(tmp_path / "gone" / RUN_FILE)

    RunFile(data_dir, pointer).write({"front": "here"})

    assert json.loads(pointer.read_text()) == {"front": "here"}


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    data_dir, pointer = _folders(tmp_path)

    RunFile(data_dir, pointer).write({"front": "here"})

    assert (data_dir / RUN_FILE).stat().st_mode & 0o777 == 0o600
