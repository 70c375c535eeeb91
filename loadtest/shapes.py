"""How many users a load test has, of which kinds, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

KINDS: Mapping[str, int] = {"reader": 80, "integrator": 10, "dashboard": 5, "scanner": 5}
"""Users of each kind, of a hundred."""


@dataclass(frozen=True)
class Stage:
    """Up to `until`, in seconds from the start, there are `users`; `rate` of them come a second."""

    until: float
    users: int
    rate: float


@dataclass(frozen=True)
class Shape:
    """A load test; `one_link`: all readers follow the same one."""

    what: str
    stages: Sequence[Stage]
    kinds: Mapping[str, int] = field(default_factory=lambda: KINDS)
    one_link: bool = False

    @property
    def seconds(self) -> float:
        return self.stages[-1].until

    def users_at(self, seconds: float) -> tuple[int, float] | None:
        """Users and how fast they come, `seconds` after the start; None when it is over."""
        for stage in self.stages:
            if seconds < stage.until:
                return stage.users, stage.rate
        return None


SHAPES: Mapping[str, Shape] = {
    "smoke": Shape("a few users for half a minute", [Stage(30, 10, 5)]),
    "ramp": Shape(
        "more and more users, for five minutes",
        [Stage(60 * step, 50 * step, 5) for step in range(1, 6)],
    ),
    "soak": Shape("steady use for an hour", [Stage(3_600, 50, 5)]),
    "spike": Shape(
        "ten times the users for half a minute, all of a sudden",
        [Stage(30, 30, 10), Stage(60, 300, 100), Stage(120, 30, 100)],
    ),
    "hot": Shape(
        "everybody follows one link, for a minute",
        [Stage(60, 100, 20)],
        kinds={"reader": 100},
        one_link=True,
    ),
}
