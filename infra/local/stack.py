"""What runs in the local stack, on which ports, and how each part tells that it is ready."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.accounts import Account
from infra.local.front import Front
from infra.local.monitoring import Alertmanager, Monitoring, Prometheus
from infra.local.options import ROOT, Options
from infra.local.ports import HOST, free_ports
from infra.local.programs import Program, Stage
from infra.local.stores import Postgres, Store, Valkey

SERVICE_STOP_SECONDS = 15
"""Enough for the services to finish open requests and flush what they buffer."""


@dataclass(frozen=True)
class Part:
    """A program and how to find out whether it answers."""

    program: Program
    url: str
    is_ready: Callable[[], bool]


class Stack:
    """The parts of one stack, from what was asked for. Nothing is started or written yet."""

    def __init__(self, options: Options, data_dir: Path, account: Account | None) -> None:
        wanted = (options.prometheus_port, options.alertmanager_port)
        ports = (port for port in free_ports(options.port) if port not in wanted)
        self.front_url = f"http://{HOST}:{options.port}"
        self.database = Postgres(data_dir / "postgres", next(ports), account)
        self._redis = Valkey(data_dir / "redis", next(ports), account)
        api, worker = next(ports), next(ports)
        redirectors = [next(ports) for _ in range(options.redirectors)]
        self._front = Front(
            data_dir / "nginx",
            options.port,
            account,
            redirectors=redirectors,
            apis=[api],
            real_ip_from=options.trusted_proxies,
            max_body_bytes=options.max_body_bytes,
            max_bulk_bytes=options.max_bulk_bytes,
            country_header=options.country_header,
            access_log=f"/dev/stdout {_log_format(options)} buffer=4k flush=1s",
            # What the levels mean: nginx.conf.template.
            error_level="notice" if options.log_addresses else "alert",
        )
        self._environ = options.environ
        self._account = account
        self._api_port, self._worker_port, self._redirector_ports = api, worker, redirectors
        self._monitoring = (
            Monitoring(
                options,
                data_dir,
                account,
                ports,
                targets={"redirector": redirectors, "api": [api], "worker": [worker]},
            )
            if options.monitoring
            else None
        )
        self.parts: Sequence[Part] = ()

    def prepare(self) -> None:
        """Makes the data and configuration of all parts, and with them `parts`.

        Raises StackError.
        """
        self.database.prepare()
        self._redis.prepare()
        self._front.prepare()
        if self._monitoring:
            self._monitoring.prepare()
        self.parts = [
            self._store(self.database, "INT"),
            self._store(self._redis, "TERM"),
            self._service("api", "api", self._api_port),
            self._service("worker", "worker", self._worker_port),
            *(
                self._service(f"redirector-{number}", "redirector", port)
                for number, port in enumerate(self._redirector_ports, start=1)
            ),
            self._nginx(),
            *(
                self._monitor(server)
                for server in (self._monitoring.servers if self._monitoring else ())
            ),
        ]

    @property
    def monitoring_said(self) -> Mapping[str, str]:
        """What there is to say of Prometheus and Alertmanager, by name."""
        return self._monitoring.said if self._monitoring else {}

    def stage(self, stage: Stage) -> Sequence[Part]:
        return [part for part in self.parts if part.program.stage is stage]

    def describe(self, pids: Mapping[str, int | None]) -> Mapping[str, Any]:
        """The content of run.json; the pid of what is being started again is null."""
        where = {
            part.program.name: {"url": part.url, "pid": pids.get(part.program.name)}
            for part in self.parts
        }
        return {
            "front": self.front_url,
            "redirectors": [
                place for name, place in where.items() if name.startswith("redirector-")
            ],
            "api": where["api"],
            "worker": where["worker"],
            "nginx": {"pid": where["nginx"]["pid"]},
            "database": where["postgres"],
            "redis": where["redis"],
            **{name: where[name] for name in ("prometheus", "alertmanager") if name in where},
        }

    def _store(self, store: Store, stop_signal: str) -> Part:
        program = Program(
            name=store.name,
            argv=tuple(store.argv),
            # Where the server would go by itself.
            folder=store.data,
            stage=Stage.STORES,
            stop_signal=stop_signal,
            stop_seconds=20,
            account=store.account,
            scatters=isinstance(store, Postgres),
            lock_file="postmaster.pid" if isinstance(store, Postgres) else None,
        )
        return Part(program, store.url, store.is_ready)

    def _service(self, name: str, service: str, port: int) -> Part:
        prefix = service.upper()
        program = Program(
            name=name,
            argv=(sys.executable, "-m", f"services.{service}"),
            folder=ROOT,
            stage=Stage.SERVICES,
            stop_seconds=SERVICE_STOP_SECONDS,
            environ={
                **self._environ,
                "DATABASE_URL": self.database.url,
                "REDIS_URL": self._redis.url,
                "BASE_URL": self.front_url,
                f"{prefix}_HOST": HOST,
                f"{prefix}_PORT": str(port),
            },
        )
        return Part(program, f"http://{HOST}:{port}", lambda: _answers(port, "/ready"))

    def _nginx(self) -> Part:
        port = int(self.front_url.rpartition(":")[2])
        program = Program(
            name="nginx",
            argv=tuple(self._front.argv),
            folder=self._front.folder,
            stage=Stage.FRONT,
            # It finishes open requests, no longer than worker_shutdown_timeout.
            stop_signal="QUIT",
            stop_seconds=8,
        )
        return Part(program, self.front_url, lambda: _answers(port, "/health"))

    def _monitor(self, server: Alertmanager | Prometheus) -> Part:
        program = Program(
            name=server.name,
            argv=server.argv,
            folder=server.folder,
            stage=Stage.MONITORING,
            account=self._account,
        )
        url = f"http://{HOST}:{server.port}"
        return Part(program, url, lambda: _answers(server.port, "/-/ready"))


def _log_format(options: Options) -> str:
    return "hoplink_with_address" if options.log_addresses else "hoplink"


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
