"""The schema, as numbered steps, and what applies them.

A step must leave the version before it working: old and new processes run side by side during
an upgrade. So columns come with a default, and go one release after the last code that names them.
"""

from __future__ import annotations

from pathlib import Path

import psycopg2
from peewee import PostgresqlDatabase
from playhouse.migrations import Runner

_LOCK = 0x686F_706C  # any number, the same for all: "hopl"


def migrate(database_url: str) -> list[str]:
    """Applies what is missing, and returns the names of the steps applied.

    Each runs in a transaction, unless it says `atomic = False`. Several may call this at once: one
    works, the others wait and then find nothing to do.
    Raises psycopg2.Error or peewee.PeeweeException.
    """
    lock = psycopg2.connect(database_url, connect_timeout=5, application_name="hoplink-migrations")
    try:
        with lock.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        database = PostgresqlDatabase(database_url, application_name="hoplink-migrations")
        try:
            return list(Runner(database, str(Path(__file__).parent)).up())
        finally:
            database.close()
    finally:
        lock.close()
