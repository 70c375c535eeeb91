"""Client connections fit into the open files that a process may have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import resource, sys
from services.redirector.open_files import fit
from shared.settings import Settings
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
settings = Settings(
    database_url="postgresql://h/d",
    redis_url="redis://h",
    redirector_max_connections=wanted,
    redirector_redis_connections=8,
    redirector_database_connections=4,
)
print(fit(settings).redirector_max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
OTHERS = 64 + 2 * (8 + 4)


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "connections", "limit"),
    [
        (400, 400, 100, 100, 400),
        (200, 400, 300, 300, 300 + OTHERS),
        (200, 400, 1_000, 400 - OTHERS, 400),
        (80, 80, 1_000, 1, 80),
    ],
    ids=["enough", "raised", "not enough", "hardly any"],
)
def test_connections_leave_room_for_the_stores(
    soft: int, hard: int, wanted: int, connections: int, limit: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(wanted)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(connections), str(limit)]
    assert ("REDIRECTOR_MAX_CONNECTIONS" in done.stderr) == (connections < wanted)
