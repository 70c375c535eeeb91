"""Runs Hoplink on this machine, in the foreground: `make run`."""

from __future__ import annotations

import os
import sys

from infra.local.errors import StackError
from infra.local.launcher import Launcher, Stopped, stop_signals
from infra.local.options import Options
from infra.local.parent import follow_make
from infra.local.report import complain


def main() -> int:
    try:
        with stop_signals():
            follow_make(os.environ)
            Launcher(Options.from_env(os.environ)).run()
    except StackError as error:
        complain(str(error))
        return 1
    except Stopped:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
