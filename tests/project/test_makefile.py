"""`make` explains itself, and needs nothing installed to do so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import inherited_environ

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def _make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=inherited_environ(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_is_the_default_and_lists_every_target() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())

    listed = re.findall(r"^make (\S+) +\S", _make().stdout, re.MULTILINE)

    assert set(listed) == targets == phony
    assert {"run", "test", "lint", "seed", "lock"} <= targets


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_a_python_that_is_missing_or_too_old_is_one_clear_line(python: str) -> None:
    done = _make("install", f"PYTHON={python}")

    assert done.returncode != 0
    complaint = [line for line in done.stderr.splitlines() if line.startswith("hoplink: ")]
    assert len(complaint) == 1
    assert "3.11" in complaint[0]
    assert "make PYTHON=" in complaint[0]


def test_ci_runs_lint_and_tests() -> None:
    assert "make lint test" in (ROOT / ".ci" / "run").read_text()
