"""Real servers for every test that asks for them, one set of them a test process.

Each parallel test process has a PostgreSQL, a Valkey and ports of its own, started by the first
test that needs them. What they and the services wrote during a test is in its failure report.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.support.ports import PortBlock
from tests.support.processes import Log
from tests.support.services import Services, StartService, http_client
from tests.support.stores import (
    PostgresProcess,
    ValkeyProcess,
    running_postgres,
    running_valkey,
    scratch_folder,
)

LOGS = pytest.StashKey[list[Log]]()

# How long an example takes is the machine's affair.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LOGS] = []
    # In the background of a shell a process is deaf to Ctrl-C, and so is all that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    # What there is by now stays until the end: the collector needn't go through it each time.
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for log in item.config.stash[LOGS]:
        log.mark()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [
            (f"log of {log.name}", log.recent) for log in item.config.stash[LOGS] if log.recent
        ]
    return report


@pytest.fixture(scope="session")
def ports() -> Iterator[PortBlock]:
    """Ports that no other test process uses."""
    block = PortBlock()
    yield block
    block.close()


@pytest.fixture(scope="session")
def free_port(ports: PortBlock) -> Callable[[], int]:
    """Gives a port that nobody listens on."""
    return ports.free_port


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder for servers' data and logs."""
    with scratch_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def watch_log(pytestconfig: pytest.Config) -> Callable[[Log], None]:
    """Puts a log into the reports of tests that fail from now on."""
    return pytestconfig.stash[LOGS].append


@pytest.fixture(scope="session")
def postgres(
    server_folder: Path, ports: PortBlock, watch_log: Callable[[Log], None]
) -> Iterator[PostgresProcess]:
    """PostgreSQL with the migrated schema. It may be stopped, killed and frozen."""
    with running_postgres(server_folder, ports.free_port()) as process:
        watch_log(process.log)
        yield process


@pytest.fixture(scope="session")
def valkey(
    server_folder: Path, ports: PortBlock, watch_log: Callable[[Log], None]
) -> Iterator[ValkeyProcess]:
    """Valkey. It may be stopped, killed and frozen."""
    with running_valkey(server_folder, ports.free_port()) as process:
        watch_log(process.log)
        yield process


@pytest.fixture
def database_url(postgres: PostgresProcess) -> str:
    """The URL of a database with the current schema and no rows."""
    postgres.heal()
    postgres.empty()
    return postgres.url


@pytest.fixture
def redis_url(valkey: ValkeyProcess) -> str:
    """The URL of an empty Redis."""
    valkey.heal()
    valkey.empty()
    return valkey.url


@pytest.fixture(scope="session")
def services(
    server_folder: Path, ports: PortBlock, watch_log: Callable[[Log], None]
) -> Iterator[Services]:
    """Starts services that live until the last test; settings are up to the caller."""
    started = Services(ports, server_folder, watch_log)
    yield started
    started.close()


@pytest.fixture
def start_service(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    ports: PortBlock,
    watch_log: Callable[[Log], None],
) -> Iterator[StartService]:
    """Starts a service on empty stores that lives until the end of the test.

    `start_service("api", API_WORKERS="1")` waits for its /health and returns its process, with
    `url`, `http` (a client) and `log`.
    """
    started = Services(ports, tmp_path, watch_log)

    stores = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    yield lambda name, **settings: started.start(name, **(stores | settings))
    started.close()


@pytest.fixture
def http() -> Iterator[Callable[[str], httpx.Client]]:
    """Makes clients for a base URL, which follow no redirect."""
    clients: list[httpx.Client] = []

    def make(url: str) -> httpx.Client:
        clients.append(http_client(url))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
