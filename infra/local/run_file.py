"""DATA_DIR/run.json: where everything is, for tools."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUN_FILE = "run.json"


class RunFile:
    """Keeps run.json current, and a link to it where tools look first.

    It holds passwords, so only its owner can read it.
    """

    def __init__(self, data_dir: Path, pointer: Path) -> None:
        self._file = data_dir / RUN_FILE
        self._pointer = pointer
        self._written: Mapping[str, Any] | None = None

    def write(self, content: Mapping[str, Any]) -> None:
        """Replaces the file at once, if `content` is news; readers never see half of it."""
        if content == self._written:
            return
        scratch = self._file.with_suffix(".new")
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(content, indent=2) + "\n")
        scratch.replace(self._file)
        self._written = content
        self._point()

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)
        if self._is_ours():
            self._pointer.unlink()

    def _point(self) -> None:
        # One that leads to another stack that runs stays.
        if self._pointer == self._file or self._pointer.exists():
            return
        self._pointer.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._pointer.with_suffix(f".{os.getpid()}")
        scratch.symlink_to(self._file)
        scratch.replace(self._pointer)

    def _is_ours(self) -> bool:
        return self._pointer.is_symlink() and self._pointer.readlink() == self._file
