"""Programs of Prometheus and Alertmanager, from this machine's packages."""

from __future__ import annotations

import shutil
import subprocess

PACKAGES = "apt-get install prometheus prometheus-alertmanager"


def program(*names: str) -> str:
    """The path of the first of these programs that is there; fails the test without any."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise AssertionError(f"{names[0]} is not installed: {PACKAGES}")


def run(*command: object) -> str:
    """What a program says; fails the test when it says so by failing itself."""
    done = subprocess.run(
        [program(str(command[0])), *map(str, command[1:])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
