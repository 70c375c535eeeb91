"""Makes .venv from the hash-locked requirements, unless the one that is there is right.

Runs on the bare interpreter: `python3 infra/install.py`. Several may run at once; one installs,
the others wait. What was interrupted is made anew the next time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path("infra/requirements/dev.txt")
VENV = ROOT / ".venv"
STAMP = VENV / ".complete"
"""Written last: a .venv without it, or with another text in it, is made anew."""


class InstallError(Exception):
    """The message says what to do."""


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with _alone() as lock:
            if not _is_complete():
                _install(lock)
    except InstallError as error:
        print(f"hoplink: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("hoplink: the installation was interrupted; run make again", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _alone() -> Iterator[int]:
    """Waits until nobody else installs here; gives the lock's descriptor."""
    # A lock on the folder itself leaves no file behind.
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _is_complete() -> bool:
    return STAMP.is_file() and STAMP.read_text() == _wanted() and _python().exists()


def _wanted() -> str:
    """What .venv depends on: the lock, the interpreter, and where the folder is."""
    digest = hashlib.sha256((ROOT / LOCK).read_bytes()).hexdigest()
    return f"{digest}\n{sys.version}\n{os.path.realpath(sys.executable)}\n{ROOT}\n"


def _python() -> Path:
    return VENV / "bin" / "python"


def _install(lock: int) -> None:
    print("Installing what Hoplink needs into .venv; this takes a minute, once.", flush=True)
    STAMP.unlink(missing_ok=True)
    made = _run([sys.executable, "-m", "venv", "--clear", str(VENV)], lock, capture=True)
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise InstallError(
            f"{sys.executable} can't make a virtual environment. Install Python's venv module "
            "(on Debian and Ubuntu: apt-get install python3-venv) and run make again."
        )
    pip = [str(_python()), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    locked = [*pip, "--require-hashes", "--requirement", str(LOCK)]
    itself = [*pip, "--no-deps", "--no-build-isolation", "--editable", "."]
    for step in (locked, itself):
        if _run(step, lock).returncode:
            raise InstallError(
                "the packages could not be installed; pip says why above. Run make again."
            )
    STAMP.write_text(_wanted())


def _run(
    command: list[str], lock: int, *, capture: bool = False
) -> subprocess.CompletedProcess[bytes]:
    # The child holds the lock as well: should this process be killed, nobody else gets in its way.
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=capture, pass_fds=(lock,))


if __name__ == "__main__":
    sys.exit(main())
