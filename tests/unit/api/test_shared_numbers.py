"""Where the processes of an API server keep their numbers, and what killed servers leave."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from services.api.shared_numbers import SharedNumbers

SERVER = """
import sys
from services.api.shared_numbers import SharedNumbers
numbers = SharedNumbers()
print("ready", flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_start_removes_what_killed_servers_left_and_nothing_else(temporary: Path) -> None:
    foreign = temporary / "hoplink-api-metrics-link"
    foreign.symlink_to(temporary)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        (of_server,) = set(temporary.iterdir()) - {foreign}

        numbers = SharedNumbers()
        assert of_server.is_dir(), "its server lives"
        numbers.remove()
        server.kill()

    numbers = SharedNumbers()
    assert not of_server.exists()
    numbers.remove()
    assert list(temporary.iterdir()) == [foreign]
