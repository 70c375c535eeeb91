"""The folder that a stack keeps everything in, one stack at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from infra.local.accounts import Account
from infra.local.errors import StackError
from infra.local.options import Options, fallback_data_dir
from infra.local.programs import FOLDER


class DataDir:
    """A data folder that belongs to this process until `release`."""

    def __init__(self, path: Path, *, moved: bool) -> None:
        self.path = path
        self.moved = moved
        self._lock = self._take()

    @classmethod
    def claim(cls, options: Options, account: Account | None) -> DataDir:
        """Makes the folder and takes it; raises StackError when it can't be used."""
        wanted = options.data_dir
        _make(wanted, account)
        if account is None or account.can_enter(wanted):
            return cls(wanted, moved=False)
        if options.data_dir_given:
            raise StackError(
                f"DATA_DIR={wanted} is in a folder that {account.name} can't enter, who runs the "
                "stores when make is run as root; give another, or run make as an ordinary user"
            )
        fallback = fallback_data_dir()
        _make(fallback, account)
        if fallback.is_symlink() or fallback.stat().st_uid != os.geteuid():
            raise StackError(f"{fallback} belongs to somebody else; give DATA_DIR another folder")
        return cls(fallback, moved=True)

    def release(self) -> None:
        os.close(self._lock)

    def _take(self) -> int:
        file = self.path / "lock"
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode()
            os.close(lock)
            raise StackError(
                f"another make run (process {holder}) already uses {self.path}; "
                "stop it, or give DATA_DIR another folder"
            ) from None
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        try:
            for name in ("logs", FOLDER):
                folder = self.path / name
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return lock


def _make(path: Path, account: Account | None) -> None:
    if path.is_dir():
        return
    try:
        path.mkdir(parents=True)
        # What is secret in it has narrower rights of its own.
        path.chmod(0o700 if account is None else 0o711)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> StackError:
    return StackError(
        f"can't write to {path} ({error.strerror}); give DATA_DIR a folder that you may write to"
    )
