"""How long and from which seed the tests run that look for failures at random.

`make test` runs a short, always equal choice; `make chaos` sets CHAOS_SECONDS and CHAOS_SEED.
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, settings

SECONDS = float(os.environ.get("CHAOS_SECONDS", "0"))
"""How long each of these tests runs; 0 for the short choice."""
SEED = int(os.environ.get("CHAOS_SEED", "1"))


def seconds(short: float) -> float:
    """How long to run, where the short choice is `short`."""
    return SECONDS or short


def seeded(name: str) -> random.Random:
    """Chance that is the same for a name and a seed."""
    return random.Random(f"{name} {SEED}")


def hypothesis_profile() -> settings:
    """For a stateful test that runs on real stores."""
    return settings(
        max_examples=40 if not SECONDS else 3 * int(SECONDS),
        stateful_step_count=50,
        deadline=None,
        derandomize=not SECONDS,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
