"""Turns a process that the supervisor started into a program: `python -m infra.local.child NAME`.

It ends what an earlier process of the program left behind, writes itself down, and becomes the
program; so the supervisor knows the program's own process id. Works in DATA_DIR.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from infra.local import leftovers, programs

OPEN_FILES = 65_536


def main(name: str) -> None:
    """Doesn't return. Raises OSError when the program can't be executed."""
    data_dir = Path.cwd()
    program = programs.load(data_dir, name)
    me = leftovers.Record.of_this_process()
    leftovers.end_leftovers(program, leftovers.load(data_dir, name) or me)
    if program.lock_file is not None:
        # Nothing of it is left, and DATA_DIR is ours alone.
        (program.folder / program.lock_file).unlink(missing_ok=True)
    me.save(data_dir, name)

    _allow_many_open_files()
    os.chdir(program.folder)
    if program.account is not None:
        program.account.drop_privileges()
    os.execve(program.argv[0], program.argv, {**os.environ, **program.environ})


def _allow_many_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main(sys.argv[1])
