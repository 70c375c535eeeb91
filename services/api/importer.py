"""Imports a file of rows: into a staging table by COPY, and from there by one INSERT."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from peewee import IntegrityError
from pydantic import ValidationError

from services.api import errors, strict_json
from services.api.change_publisher import ChangePublisher
from services.api.connections import Connections
from services.api.csv_file import CsvFile, Source
from services.api.import_kinds import ImportKind, id_of
from shared import change_log, short_codes
from shared.database import Database

MAX_ERRORS_SHOWN = 100
STATEMENT_SECONDS = 300
"""Longest that one statement of an import may run; for COPY that includes waiting for the file."""
LIMIT_SECONDS = 600
"""Longest that all of them may."""
TRIES = 5
"""How often rows are inserted that met a generated code which is taken, or lost their user."""

_CHUNK = 65_536

_CODE_TAKEN = """
SELECT row FROM staged
WHERE NOT has_code AND NOT EXISTS (SELECT FROM urls WHERE id = staged.id)
"""
_OTHER_CODE = "UPDATE staged SET short_code = %s WHERE row = %s"
_FIRST_REFUSED = """
WITH refused AS ({statement})
SELECT refused.*, count(*) OVER () FROM refused ORDER BY row LIMIT %s
"""


@dataclass(frozen=True)
class Refused:
    """Staged rows that can't be imported; there may be too many of them to hold them all."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)
    """Those that are shown: number of the row, and what is wrong with it."""


@dataclass
class Outcome:
    """What became of the rows of a file."""

    imported: int = 0
    skipped: int = 0
    error_count: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    """The first of them, by number of the row: that, and what is wrong with it."""

    def refuse(self, row: int, reason: str) -> None:
        """A row that comes after all that were refused before it."""
        self.error_count += 1
        if len(self.errors) < MAX_ERRORS_SHOWN:
            self.errors.append((row, reason))

    def refuse_all(self, refused: Refused) -> None:
        """Rows from anywhere in the file."""
        self.error_count += refused.count
        self.errors = sorted(self.errors + refused.first)[:MAX_ERRORS_SHOWN]


# S608 is off where SQL is put together from names that import_kinds fixes, never from a request.


class Importer:
    """Imports files into one table. All acceptable rows of a file get there together, or none."""

    def __init__(
        self, kind: ImportKind, connections: Connections, publisher: ChangePublisher
    ) -> None:
        self._kind = kind
        self._connections = connections
        self._publisher = publisher

    def run(self, source: Source) -> Outcome:
        """Raises InvalidFile and what reading `source` raises; nothing was imported then."""
        rows = CsvFile(source, self._kind.required)
        outcome = Outcome()
        with self._connections.lend(LIMIT_SECONDS) as database, self._staging(database):
            staged = self._stage(database, rows, outcome)
            self._number(database)
            self._insert(database, staged, outcome)
        if outcome.imported:
            self._publisher.publish([self._kind.subject], absent=self._kind.makes_links)
        return outcome

    @contextmanager
    def _staging(self, database: Database) -> Iterator[None]:
        """While it lasts there is a table `staged`, and statements may take their time."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self._kind.columns.items())
        database.execute_sql(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
        database.execute_sql(
            f"CREATE TEMPORARY TABLE staged (row bigint, id bigint, has_id boolean, {columns})"
        )
        try:
            yield
        finally:
            database.execute_sql("DROP TABLE staged")
            database.execute_sql("RESET statement_timeout")

    def _stage(self, database: Database, rows: CsvFile, outcome: Outcome) -> int:
        """Copies the rows that are right as far as one can tell from them; returns their number."""
        feed = _Feed(self._kind, rows, outcome)
        with database.connection().cursor() as cursor:
            cursor.copy_expert("COPY staged FROM STDIN (FORMAT csv)", feed, _CHUNK)
        if feed.error is not None:
            raise feed.error
        database.execute_sql("ANALYZE staged")
        return feed.rows_fed

    def _number(self, database: Database) -> None:
        """Gives ids to the rows without, and moves generated ids beyond those of the file.

        Before any row is inserted: nobody else then gets the id of a row that is on its way.
        """
        sequence = f"{self._kind.table}_id_seq"
        with database.atomic():
            # Keeps everyone from taking an id until the commit: one that is taken between reading
            # the sequence and setting it would be given out twice.
            database.execute_sql(f"ALTER SEQUENCE {sequence} CACHE 1")
            database.execute_sql(
                f"SELECT setval('{sequence}', max(id)) FROM staged"  # noqa: S608
                f" HAVING max(id) > (SELECT last_value FROM {sequence})"
            )
        database.execute_sql(
            f"UPDATE staged SET id = nextval('{sequence}') WHERE id IS NULL"  # noqa: S608
        )

    def _insert(self, database: Database, staged: int, outcome: Outcome) -> None:
        for last_try in (False,) * (TRIES - 1) + (True,):
            staged -= self._drop_orphans(database, outcome)
            try:
                with database.atomic():
                    imported = self._insert_staged(database)
                    if self._kind.makes_links:
                        imported += self._insert_with_other_codes(database)
                        database.execute_sql(change_log.ADD, (None,))
                    refused = (
                        _refused(database, self._kind.conflicts) if imported < staged else Refused()
                    )
                break
            except IntegrityError:
                if last_try:  # what the rows refer to is deleted faster than it can be looked up
                    raise
        outcome.refuse_all(refused)
        outcome.imported = imported
        outcome.skipped = staged - imported - refused.count

    def _drop_orphans(self, database: Database, outcome: Outcome) -> int:
        dropped = 0
        for statement in self._kind.orphans:
            refused = _refused(database, statement)
            outcome.refuse_all(refused)
            dropped += refused.count
        return dropped

    def _insert_staged(self, database: Database, which: str = "true", *parameters: object) -> int:
        columns = ", ".join(("id", *self._kind.inserted))
        return int(
            database.execute_sql(
                f"INSERT INTO {self._kind.table} ({columns})"  # noqa: S608
                f" SELECT {columns} FROM staged WHERE {which} ON CONFLICT DO NOTHING",
                parameters,
            ).rowcount
        )

    def _insert_with_other_codes(self, database: Database) -> int:
        """Tries again what met a code that was generated, but taken."""
        imported = 0
        for _ in range(TRIES):
            rows = [row for (row,) in database.execute_sql(_CODE_TAKEN).fetchall()]
            if not rows:
                break
            for row in rows:
                database.execute_sql(_OTHER_CODE, (short_codes.generate(), row))
            imported += self._insert_staged(database, "row = ANY(%s)", rows)
        return imported


def _refused(database: Database, statement: str) -> Refused:
    """What a statement returns that gives `row` and what is wrong with it."""
    rows = database.execute_sql(
        _FIRST_REFUSED.format(statement=statement), (MAX_ERRORS_SHOWN,)
    ).fetchall()
    if not rows:
        return Refused()
    return Refused(rows[0][2], [(row, reason) for row, reason, _ in rows])


class _Feed:
    """The file that COPY reads: rows of the table `staged`, made from those of a CSV file."""

    def __init__(self, kind: ImportKind, rows: CsvFile, outcome: Outcome) -> None:
        self.rows_fed = 0
        self.error: Exception | None = None
        """What ended the file before its time; psycopg2 would make an error of its own of it."""
        self._kind = kind
        self._file = rows
        self._rows = iter(rows)
        self._outcome = outcome

    def read(self, size: int) -> bytes:
        chunk = io.StringIO(newline="")
        write = csv.writer(chunk, lineterminator="\n").writerow
        try:
            while chunk.tell() < size and (record := next(self._rows, _END)) is not _END:
                self._feed(record, write)
        except Exception as error:  # noqa: BLE001  # raised again once COPY has ended
            self.error = error
            return b""
        return chunk.getvalue().encode()

    def _feed(self, record: dict[str, str] | None, write: Any) -> None:
        row = self._file.row_number
        if record is None:
            self._outcome.refuse(row, "has more or fewer fields than the header")
            return
        try:
            strict_json.check_text("".join(record.values()))
            number = id_of(record)
            values = self._kind.values(record)
        except ValidationError as error:
            self._outcome.refuse(row, errors.explain(error))
        except ValueError as error:
            self._outcome.refuse(row, str(error))
        else:
            write((row, number, number is not None, *values))
            self.rows_fed += 1


_END: Any = object()
