"""What one process of the stack is, in a form that can be written down and read back."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.local.accounts import Account

FOLDER = "stack"
"""The folder under DATA_DIR of what the stack knows about its processes."""


class Stage(enum.IntEnum):
    """What starts together. A stage starts when the one before it is ready and stops before it.

    Nothing waits until monitoring is ready.
    """

    STORES = 10
    SERVICES = 20
    FRONT = 30
    MONITORING = 40


@dataclass(frozen=True)
class Program:
    """How a process of the stack is started and stopped."""

    name: str
    argv: tuple[str, ...]
    folder: Path
    """It works in it."""
    stage: Stage
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    """After so long it is killed."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Beside the environment of `make run`."""
    account: Account | None = None
    scatters: bool = False
    """Its processes leave its session; they are known by their name and `folder`, theirs alone."""
    lock_file: str | None = None
    """In `folder`; says by process id who runs. After a crash that id may be somebody else's."""

    def save(self, data_dir: Path) -> None:
        text = json.dumps(asdict(self) | {"folder": str(self.folder)})
        scratch = _file(data_dir, self.name).with_suffix(".new")
        scratch.touch(mode=0o600)
        scratch.write_text(text)
        scratch.replace(_file(data_dir, self.name))


def load(data_dir: Path, name: str) -> Program:
    """The program that was saved under `name`."""
    return _from_json(json.loads(_file(data_dir, name).read_text()))


def load_all(data_dir: Path) -> list[Program]:
    """All programs that were saved, in the order in which they stop."""
    files = (data_dir / FOLDER).glob("*.program")
    programs = [load(data_dir, file.stem) for file in files]
    return sorted(programs, key=lambda program: program.stage, reverse=True)


def _from_json(saved: dict[str, Any]) -> Program:
    account = saved["account"]
    return Program(
        **saved
        | {
            "argv": tuple(saved["argv"]),
            "folder": Path(saved["folder"]),
            "stage": Stage(saved["stage"]),
            "account": Account(**account) if account else None,
        }
    )


def _file(data_dir: Path, name: str) -> Path:
    return data_dir / FOLDER / f"{name}.program"
