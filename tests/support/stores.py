"""PostgreSQL and Valkey for tests."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import redis

from infra.local.accounts import unprivileged
from infra.local.stores import Postgres, Store, Valkey
from shared.migrations import migrate
from tests.support.processes import ServerProcess

KEPT = ("schema_migration", "change_log_floor")
"""Tables whose rows belong to the schema."""

USED_TABLES = """
SELECT string_agg(format('%%I', relname), ', ')
FROM pg_class AS used
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> ALL (%s)
  AND (
    pg_relation_size(oid) > 0
    OR EXISTS (
      SELECT FROM pg_depend JOIN pg_class AS owned ON owned.oid = objid
      WHERE classid = 'pg_class'::regclass AND refobjid = used.oid
        AND CASE owned.relkind WHEN 'S' THEN pg_sequence_last_value(owned.oid) END IS NOT NULL
    )
  )
"""
"""The tables that hold or held rows, or gave out an id: most tests touch few."""


class StoreProcess(ServerProcess):
    """A store with its data in a folder of its own."""

    def __init__(self, store: Store) -> None:
        store.prepare()
        super().__init__(
            store.name,
            store.argv,
            log=store.folder.with_suffix(".log"),
            account=store.account,
        )
        self.store = store
        self.url = store.url
        self.port = store.port

    def is_ready(self) -> bool:
        return self.store.is_ready()


class PostgresProcess(StoreProcess):
    """PostgreSQL with the migrated database `hoplink`."""

    # The default, SIGTERM, waits for clients to hang up.
    STOP_SIGNAL = signal.SIGINT

    def migrate(self) -> None:
        migrate(self.url)

    def empty(self) -> None:
        """Truncates all tables that hold data; ids start from 1 again."""
        connection = psycopg2.connect(self.url, connect_timeout=5)
        try:
            with connection, connection.cursor() as cursor:
                # A test that left a transaction open must not hang the next one.
                cursor.execute("SET lock_timeout = '5s'")
                cursor.execute(USED_TABLES, (list(KEPT),))
                (tables,) = cursor.fetchone() or (None,)
                if tables:
                    cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
        finally:
            connection.close()


class ValkeyProcess(StoreProcess):
    """Valkey."""

    def empty(self) -> None:
        """Deletes all keys."""
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            client.flushall()

    def save_data(self) -> None:
        """Keeps a copy of what has been written to its files so far, in place of an earlier one."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self.store.data, self._copy)

    def restore_data(self) -> None:
        """Undoes what happened since `save_data`. It must not run."""
        self.lose_data()
        shutil.copytree(self._copy, self.store.data, dirs_exist_ok=True)
        for path in (self.store.data, *self.store.data.rglob("*")):
            if self.store.account is not None:
                self.store.account.give(path)

    def lose_data(self) -> None:
        """Leaves it without any data. It must not run."""
        assert not self.is_running
        shutil.rmtree(self.store.data)
        self.store.prepare()

    @property
    def _copy(self) -> Path:
        return self.store.folder / "copy"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for servers' data that the account they run as can enter; deleted afterwards."""
    account = unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="hoplink-test-"))
    folder.chmod(0o755)
    if account is not None and not account.can_enter(folder):
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="hoplink-test-", dir="/var/tmp"))
        folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_postgres(folder: Path, port: int) -> Iterator[PostgresProcess]:
    """A PostgreSQL that doesn't wait for the disk; gone afterwards."""
    process = PostgresProcess(Postgres(folder / "postgres", port, unprivileged(), durable=False))
    try:
        process.start()
        process.migrate()
        yield process
    finally:
        process.kill()


@contextmanager
def running_valkey(folder: Path, port: int) -> Iterator[ValkeyProcess]:
    """A Valkey; gone afterwards."""
    process = ValkeyProcess(Valkey(folder / "valkey", port, unprivileged()))
    try:
        process.start()
        yield process
    finally:
        process.kill()
