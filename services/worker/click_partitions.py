"""The partitions of clicks (a day each) and click_hours (a month each), and how they are named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any


@dataclass(frozen=True)
class Partitioned:
    """A table whose partitions bear the first day (UTC) that they are for in their names."""

    table: str
    is_monthly: bool = False

    def name(self, day: date) -> str:
        """The partition that a day belongs to."""
        return f"{self.table}_{self.first_day(day):%Y%m%d}"

    def first_day(self, day: date) -> date:
        return day.replace(day=1) if self.is_monthly else day

    def end(self, day: date) -> date:
        """The day after the last one of its partition."""
        if not self.is_monthly:
            return day + timedelta(days=1)
        return (day.replace(day=1) + timedelta(days=31)).replace(day=1)

    def missing(self, cursor: Any, days: Iterable[date]) -> list[date]:
        """One of `days` for each of their partitions that isn't there."""
        wanted = {self.name(day): day for day in days}
        return [day for name, day in wanted.items() if name not in self._names(cursor)]

    def make(self, cursor: Any, day: date) -> None:
        """Makes the partition of a day; who reads the table at this time isn't waited for."""
        name = self.name(day)
        cursor.execute(f"CREATE TABLE {name} (LIKE {self.table} INCLUDING ALL)")
        cursor.execute(
            f"ALTER TABLE {self.table} ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{self.first_day(day)} 00:00+00') TO ('{self.end(day)} 00:00+00')"
        )

    def outdated(self, cursor: Any, first: date) -> list[str]:
        """The partitions that hold nothing from `first` on, oldest first."""
        found = []
        for name in sorted(self._names(cursor)):
            if digits := re.fullmatch(rf"{self.table}_(\d{{4}})(\d\d)(\d\d)", name):
                day = date(*map(int, digits.groups()))
                if self.end(day) <= first:
                    found.append(name)
        return found

    def _names(self, cursor: Any) -> set[str]:
        cursor.execute(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = %s::regclass",
            (self.table,),
        )
        return {name for (name,) in cursor.fetchall()}


CLICKS = Partitioned("clicks")
HOURS = Partitioned("click_hours", is_monthly=True)
