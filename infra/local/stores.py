"""The two stores as the local stack and the tests run them: PostgreSQL and Valkey.

A store knows how its data is prepared, how it is started, and how to tell that it answers. Who
starts it, a supervisor or a test, is not its business.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg2

from infra.local import wheels
from infra.local.accounts import Account, run_as
from infra.local.errors import StackError
from infra.local.ports import HOST


class Store(ABC):
    """A database server on a loopback port, its data and its password in one folder.

    Under root, `account` owns the folder and runs the server.
    """

    name: str

    def __init__(self, folder: Path, port: int, account: Account | None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self.account = account

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to, with the password in it; the store must be prepared."""

    @property
    @abstractmethod
    def argv(self) -> Sequence[str]:
        """Runs the server in the foreground, as `account`."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers a client."""

    @abstractmethod
    def prepare(self) -> None:
        """Makes the folder and what the server needs in it, unless it is there already.

        Raises StackError. May be interrupted at any point and called again.
        """

    def _make_folder(self) -> None:
        self._check_owner()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._give(self.folder, 0o700)
        if self.account is not None and not self.account.can_enter(self.folder):
            raise StackError(
                f"{self.folder} can't be entered by {self.account.name}, who runs {self.name} "
                "when make is run as root; give DATA_DIR a folder that everybody can enter"
            )
        if not self._password_file.exists():
            self._write(self._password_file, secrets.token_hex(16))

    def _check_owner(self) -> None:
        if not self.data.exists():
            return
        owner, ours = self.data.stat().st_uid, self.account.uid if self.account else os.geteuid()
        if owner != ours:
            raise StackError(
                f"the data in {self.data} belongs to user {owner}, but {self.name} would run as "
                f"{ours}: run make as the user who made it, or give DATA_DIR another folder"
            )

    def _give(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        if self.account is not None:
            self.account.give(path)

    def _write(self, path: Path, text: str) -> None:
        """Writes a file that only the server's account reads, all of it or nothing."""
        scratch = path.with_suffix(".new")
        scratch.touch(mode=0o600)
        self._give(scratch, 0o600)
        scratch.write_text(text)
        scratch.replace(path)

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    @property
    def _password(self) -> str:
        return self._password_file.read_text()


class Postgres(Store):
    """PostgreSQL with one database, `hoplink`, in UTF-8.

    `durable=False` gives up what a crash of the machine, not of the server, could lose: for tests.
    """

    name = "postgres"
    DATABASE = "hoplink"
    MAX_CONNECTIONS = 200

    def __init__(
        self, folder: Path, port: int, account: Account | None, *, durable: bool = True
    ) -> None:
        super().__init__(folder, port, account)
        self._programs = wheels.postgres_programs(account)
        self._durable = durable

    @property
    def url(self) -> str:
        return self.url_of(self.DATABASE)

    def url_of(self, database: str) -> str:
        """What clients of another database on this server connect to."""
        return f"postgresql://hoplink:{self._password}@{HOST}:{self.port}/{database}"

    @property
    def argv(self) -> Sequence[str]:
        settings: Mapping[str, str | int] = {
            "listen_addresses": HOST,
            "port": self.port,
            # A socket file's path is limited to about a hundred characters; nobody needs one.
            "unix_socket_directories": "",
            "max_connections": self.MAX_CONNECTIONS,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self._durable:
            settings = {**settings, "fsync": "off", "full_page_writes": "off"}
        options = [f"{name}={value}" for name, value in settings.items()]
        return [
            str(self._programs / "postgres"),
            *("-D", str(self.data)),
            *(part for option in options for part in ("-c", option)),
        ]

    def prepare(self) -> None:
        self._make_folder()
        if self.data.exists():
            self._check_version()
            return
        # Under another name until it is complete.
        scratch = self.folder / "data.new"
        if scratch.exists():
            shutil.rmtree(scratch)
        self._initialise(scratch)
        scratch.rename(self.data)

    def is_ready(self) -> bool:
        try:
            psycopg2.connect(self.url, connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _initialise(self, data: Path) -> None:
        self._run(
            [
                str(self._programs / "initdb"),
                *("--pgdata", str(data)),
                *("--username", "hoplink"),
                *("--pwfile", str(self._password_file)),
                *("--auth", "scram-sha-256"),
                # Guesses at 128 random bits need no slowing down; each new connection does it, too.
                *("--set", "scram_iterations=1"),
                *("--encoding", "UTF8"),
                # The same on every machine, whatever locales it has.
                *("--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
                *(() if self._durable else ("--no-sync",)),
            ]
        )
        self._run(
            [str(self._programs / "postgres"), "--single", "-D", str(data), "postgres"],
            said=f'CREATE DATABASE "{self.DATABASE}"\n',
        )

    def _run(self, command: Sequence[str], said: str = "") -> None:
        done = subprocess.run(
            command,
            input=said,
            cwd="/",
            check=False,
            capture_output=True,
            text=True,
            **run_as(self.account),
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise StackError(f"PostgreSQL can't make its data in {self.folder}: {reason}")

    def _check_version(self) -> None:
        asked = subprocess.run(
            [str(self._programs / "postgres"), "--version"],
            check=True,
            capture_output=True,
            text=True,
        )
        ours = asked.stdout.split()[-1].partition(".")[0]
        version = self.data / "PG_VERSION"
        theirs = version.read_text().strip() if version.exists() else "an unknown version"
        if theirs != ours:
            raise StackError(
                f"the data in {self.data} was made by PostgreSQL {theirs}, this is {ours}: "
                "give DATA_DIR another folder, or dump it with that version and load it anew"
            )


class Valkey(Store):
    """Valkey, which speaks Redis's protocol; it loses at most the last second when killed."""

    name = "redis"
    _config: str = """\
bind {host}
port {port}
dir "{data}"
requirepass {password}
appendonly yes
appendfsync everysec
save ""
daemonize no
"""

    def __init__(self, folder: Path, port: int, account: Account | None) -> None:
        super().__init__(folder, port, account)
        self._server = wheels.valkey_server(account)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    @property
    def argv(self) -> Sequence[str]:
        return [str(self._server), str(self._config_file)]

    def prepare(self) -> None:
        self._make_folder()
        self.data.mkdir(exist_ok=True)
        self._give(self.data, 0o700)
        # On a command line anyone could read the password.
        data = str(self.data).replace("\\", "\\\\").replace('"', '\\"')
        config = self._config.format(host=HOST, port=self.port, data=data, password=self._password)
        self._write(self._config_file, config)

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as client:
                client.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                reply = b""
                while reply.count(b"\r\n") < 2:
                    received = client.recv(1024)
                    if not received:
                        return False
                    reply += received
        except OSError:
            return False
        # While it still loads its data it answers -LOADING.
        return reply == b"+OK\r\n+PONG\r\n"

    @property
    def _config_file(self) -> Path:
        return self.folder / "valkey.conf"
