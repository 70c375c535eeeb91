"""What the benchmarks run: stores, a worker, redirectors and nginx, in a folder that goes away."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import psutil
import psycopg2
import redis

from infra.local import wheels
from infra.local.accounts import Account, run_as, unprivileged
from infra.local.front import Front
from infra.local.ports import HOST, free_ports, is_listening
from infra.local.stores import Postgres, Store, Valkey
from loadtest import workload
from shared import link_cache
from shared.link_cache import Link
from shared.migrations import migrate

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
FILLED_AT_ONCE = 500
LINK_TTL_SECONDS = 86_400
STOP_SECONDS = 10

_FIXED = """\
daemon off;
worker_processes 1;
pid "{folder}/nginx.pid";
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path "{folder}/client-body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    server {{
        listen {host}:{port};
        return 302 {destination};
    }}
}}
"""
_TIER = re.compile(r'^hoplink_redirects_total\{outcome="(\w+)",tier="(\w+)"\} (\S+)$', re.MULTILINE)
_LINKS = re.compile(r"^hoplink_local_cache_links (\S+)$", re.MULTILINE)


class StackFailed(Exception):
    """A server did not start; the message says which and what it said."""


class Cores:
    """Which core the server under test has, and which everything else.

    Without a way to say so, or with one core only, both are None: the system decides.
    """

    def __init__(self) -> None:
        cores: list[int] = []
        if hasattr(os, "sched_getaffinity"):
            cores = sorted(os.sched_getaffinity(0))
        self.tested: int | None = None
        self.others: int | None = None
        if len(cores) > 1:
            self.tested, self.others = cores[-1], cores[0]

    def __str__(self) -> str:
        if self.tested is None:
            return "processes are not pinned to cores: this system has no way to, or one core only"
        return f"server under test on core {self.tested}, everything else on core {self.others}"

    @contextmanager
    def use(self, core: int | None) -> Iterator[None]:
        """What is started within it stays on `core`."""
        if core is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)


class Server:
    """A running server and the processes that it starts."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        port: int,
        log: Path,
        environ: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        account: Account | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self._log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd=cwd,
                start_new_session=True,
                **run_as(account),
            )
        self._process = psutil.Process(self._popen.pid)

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Raises StackFailed."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise StackFailed(f"{self.name} did not start:\n{self._log.read_text()[-2_000:]}")
            time.sleep(0.05)

    def cpu_seconds(self) -> float:
        """User and system time that it and its children took so far."""
        times = [process.cpu_times() for process in self._processes()]
        return float(sum(each.user + each.system for each in times))

    def resident_mib(self) -> float:
        return float(sum(process.memory_info().rss for process in self._processes())) / 2**20

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It gets no CPU time meanwhile."""
        self._process.suspend()
        try:
            yield
        finally:
            self._process.resume()

    def stop(self) -> None:
        # PostgreSQL waits for its clients on SIGTERM.
        number = signal.SIGINT if self.name == Postgres.name else signal.SIGTERM
        processes = self._processes()
        self._popen.send_signal(number)
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for process in processes:
            if process.is_running() and process.pid != self._popen.pid:
                process.kill()

    def _processes(self) -> list[psutil.Process]:
        if self._popen.poll() is not None:
            return []
        return [self._process, *self._process.children(recursive=True)]


class Redirector(Server):
    """One redirector, and what it says of itself."""

    def answers(self) -> dict[str, float]:
        """How many answers each tier gave, unknown codes and failures apart."""
        found = _TIER.findall(self._metrics())
        counts = {(outcome, tier): float(count) for outcome, tier, count in found}
        return {
            tier if outcome == "found" else f"{outcome} ({tier})": count
            for (outcome, tier), count in counts.items()
        }

    def links(self) -> int:
        """Links in its own memory."""
        found = _LINKS.search(self._metrics())
        return int(float(found[1])) if found else 0

    def is_ready(self) -> bool:
        try:
            return bool(self._get("/ready"))
        except (OSError, http.client.HTTPException):
            return False

    def _metrics(self) -> str:
        return self._get("/prometheus")

    def _get(self, path: str) -> str:
        client = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            client.request("GET", path)
            return client.getresponse().read().decode()
        finally:
            client.close()


class Stack:
    """Starts servers in a folder of its own; leaving it ends them and deletes the folder."""

    def __init__(self) -> None:
        self.cores = Cores()
        self.account = unprivileged()
        self._exits = ExitStack()
        # Below those that the tests take; two benchmarks at once begin to look at different places.
        self._ports = free_ports(15_000 + os.getpid() % 50 * 100)
        self._started = 0

    def __enter__(self) -> Self:
        with self._exits:
            self.folder = self._exits.enter_context(_scratch_folder(self.account))
            self._pin_ourselves()
            self.database = Postgres(self.folder / "postgres", next(self._ports), self.account)
            self.redis = Valkey(self.folder / "redis", next(self._ports), self.account)
            self.database_server = self._start_store(self.database)
            self.redis_server = self._start_store(self.redis)
            migrate(self.database.url)
            self.worker = self._start_worker()
            self._kept = self._exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def add_links(self, count: int) -> None:
        """Fills PostgreSQL with links 0 to `count` of loadtest.workload."""
        rows = self.folder / "links"
        with rows.open("w") as file:
            file.writelines(workload.rows(count))
        connection = psycopg2.connect(self.database.url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("CREATE TEMP TABLE given (id bigint, code text, url text)")
                with rows.open() as file:
                    cursor.copy_expert("COPY given FROM STDIN", file)
                cursor.execute(
                    "INSERT INTO urls (id, short_code, original_url, created_at, updated_at)"
                    " SELECT id, code, url, now(), now() FROM given"
                )
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE urls")
        finally:
            connection.close()
            rows.unlink()

    def fill_redis(self, count: int) -> None:
        """Has Redis know links 0 to `count`, the way redirectors fill it."""
        with redis.Redis.from_url(self.redis.url) as client:
            look_up = client.register_script(link_cache.GET_OR_LEASE)
            fill = client.register_script(link_cache.FILL)
            for first in range(0, count, FILLED_AT_ONCE):
                links = {
                    workload.code(number): Link(number + 1, workload.destination(number).encode())
                    for number in range(first, min(first + FILLED_AT_ONCE, count))
                }
                token = f"bench:{first}".encode()
                reply = look_up(args=link_cache.get_or_lease_arguments(token, list(links)))
                generation = link_cache.read_get_or_lease(list(links), reply).generation
                fill(
                    args=link_cache.fill_arguments(
                        token, generation, links, link_ttl=LINK_TTL_SECONDS, absent_ttl=1
                    )
                )

    @contextmanager
    def redirector(
        self, argv: Sequence[str] = ("-m", "services.redirector"), /, **settings: int
    ) -> Iterator[Redirector]:
        """A redirector on the core of what is tested; `argv` starts another form of it."""
        port = next(self._ports)
        environ = {
            **self._settings(),
            "REDIRECTOR_PORT": str(port),
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        with self.cores.use(self.cores.tested):
            redirector = Redirector(
                "redirector",
                [sys.executable, *argv],
                port=port,
                log=self._log("redirector"),
                environ=environ,
            )
        with _running(redirector):
            redirector.wait_until(redirector.is_ready)
            yield redirector

    @contextmanager
    def fixed_nginx(self) -> Iterator[Server]:
        """An nginx that answers everything by `return 302`, on the core of what is tested."""
        port = next(self._ports)
        folder = self.folder / f"nginx-{port}"
        folder.mkdir()
        config = folder / "nginx.conf"
        config.write_text(
            _FIXED.format(folder=folder, host=HOST, port=port, destination=workload.destination(0))
        )
        with self._nginx(folder, config, port) as server:
            yield server

    @contextmanager
    def front_nginx(self, behind: Server) -> Iterator[Server]:
        """nginx by the project's own template, in front of `behind`, on the same core."""
        port = next(self._ports)
        folder = self.folder / f"front-{port}"
        front = Front(folder, port, self.account, redirectors=[behind.port], apis=[behind.port])
        front.prepare()
        config = folder / "nginx.conf"
        # One core, one worker.
        text = config.read_text()
        config.write_text(text.replace("worker_processes auto;", "worker_processes 1;"))
        with self._nginx(folder, config, port) as server:
            yield server

    @contextmanager
    def _nginx(self, folder: Path, config: Path, port: int) -> Iterator[Server]:
        argv = [str(wheels.nginx()), "-e", "stderr", "-p", str(folder), "-c", str(config)]
        with self.cores.use(self.cores.tested):
            server = Server("nginx", argv, port=port, log=self._log("nginx"))
        with _running(server):
            server.wait_until(lambda: is_listening(port))
            yield server

    def _start_store(self, store: Store) -> Server:
        store.prepare()
        server = Server(
            store.name,
            store.argv,
            port=store.port,
            log=self._log(store.name),
            cwd=Path("/"),
            account=store.account,
        )
        self._exits.enter_context(_running(server))
        server.wait_until(store.is_ready)
        return server

    def _start_worker(self) -> Server:
        port = next(self._ports)
        server = Server(
            "worker",
            # It shares a core with the load, which must not wait for the recording of its clicks.
            ["nice", "-n", "19", sys.executable, "-m", "services.worker"],
            port=port,
            log=self._log("worker"),
            environ={**self._settings(), "WORKER_PORT": str(port)},
        )
        self._exits.enter_context(_running(server))
        server.wait_until(lambda: is_listening(port))
        return server

    def _settings(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            "DATABASE_URL": self.database.url,
            "REDIS_URL": self.redis.url,
            "LOG_LEVEL": "WARNING",
        }

    def _log(self, name: str) -> Path:
        self._started += 1
        return self.folder / f"{self._started}-{name}.log"

    def _pin_ourselves(self) -> None:
        # What this process starts is where it is itself, unless it says otherwise.
        self._exits.enter_context(self.cores.use(self.cores.others))


@contextmanager
def _running(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        server.stop()


@contextmanager
def _scratch_folder(account: Account | None) -> Iterator[Path]:
    """A folder that `account` can enter; deleted afterwards."""
    folder = _make_folder(None)
    if account is not None and not account.can_enter(folder):
        folder.rmdir()
        folder = _make_folder("/var/tmp")  # noqa: S108  # it has a random name
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_folder(parent: str | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hoplink-bench-", dir=parent))
    folder.chmod(0o755)
    return folder
