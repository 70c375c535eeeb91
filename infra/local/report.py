"""What `make run` says in the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

_READY = """\
Hoplink is ready, after {seconds:.1f} s.

  Front       {front}
  Shorten     curl -s {front}/shorten -H 'Content-Type: application/json' \\
                -d '{{"url": "https://example.com/"}}'
  Dashboard   {front}/dashboard
{monitoring}  Logs        {logs}
  Addresses   {run_file}
  Stop        Ctrl-C; the data stays in {data}
"""


def say(text: str) -> None:
    """Prints to a terminal that may be gone by now."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def complain(text: str) -> None:
    """One line on standard error."""
    with contextlib.suppress(OSError):
        print(f"hoplink: {text}", file=sys.stderr, flush=True)


def ready(
    front: str, data_dir: Path, run_file: Path, seconds: float, *, monitoring: Mapping[str, str]
) -> str:
    """The summary once everything answers."""
    return _READY.format(
        seconds=seconds,
        front=front,
        monitoring="".join(f"  {name:<11} {where}\n" for name, where in monitoring.items()),
        logs=readable(data_dir / "logs"),
        run_file=readable(run_file),
        data=readable(data_dir),
    )


def readable(path: Path) -> str:
    """`path` as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def reason(output: str) -> str:
    """Why a program ended, from what it logged last: one line, empty when it logged nothing."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines:
        return ""
    # PostgreSQL and nginx go on talking after the line that matters.
    fatal = [line for line in lines if "FATAL:" in line or "[emerg]" in line]
    return _message((fatal or lines)[-1])


def _message(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict):
        return line
    raised = str(entry.get("exc_info", "")).strip().splitlines()
    return str(raised[-1] if raised else entry.get("message", line))
