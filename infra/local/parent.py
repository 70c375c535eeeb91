"""Hears what `make` doesn't pass on.

A signal that is sent to make alone, by a tool say, stays there: make passes on SIGTERM only, and
for the others waits until its recipe ends by itself. Killed outright, it says nothing at all.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

_LOOK_SECONDS = 0.25


def follow_make(environ: Mapping[str, str]) -> None:
    """Sends this process SIGTERM once the make that started it has ended or was told to."""
    if "MAKELEVEL" in environ:
        make = os.getppid()
        threading.Thread(target=_follow, args=(make,), name="make", daemon=True).start()


def _follow(make: int) -> None:
    caught = _caught_signals(make)
    pause = threading.Event()
    while os.getppid() == make and _caught_signals(make) == caught:
        pause.wait(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _caught_signals(process: int) -> str | None:
    """Which signals it handles: make stops handling one when it gets it. Only Linux tells."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    return next((line for line in status.splitlines() if line.startswith("SigCgt")), None)
