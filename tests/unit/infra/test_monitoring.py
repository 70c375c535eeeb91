"""How `make run` sets up Prometheus and Alertmanager."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.errors import StackError
from infra.local.monitoring import HOW_TO_GET, Monitoring, find
from infra.local.options import Options
from infra.local.ports import HOST
from tests.support.monitoring import program, run

FreePort = Callable[[], int]


def _monitoring(tmp_path: Path, free_port: FreePort, **environ: str) -> Monitoring:
    environ = {
        "PATH": ":".join({str(Path(program("prometheus")).parent), "/usr/bin", "/bin"}),
        "PROMETHEUS_PORT": str(free_port()),
        "ALERTMANAGER_PORT": str(free_port()),
        **environ,
    }
    return Monitoring(
        Options.from_env(environ, tmp_path),
        tmp_path,
        None,
        iter([7001, 7002]),
        targets={"redirector": [8000, 8003], "api": [8001], "worker": [8002]},
    )


def _config(tmp_path: Path) -> Any:
    return yaml.safe_load((tmp_path / "prometheus" / "prometheus.yml").read_text())


def test_each_redirector_is_scraped(tmp_path: Path, free_port: FreePort) -> None:
    monitoring = _monitoring(tmp_path, free_port)

    monitoring.prepare()

    jobs = {job["job_name"]: job for job in _config(tmp_path)["scrape_configs"]}
    assert set(jobs) == {"redirector", "api", "worker", "prometheus", "alertmanager"}
    assert jobs["redirector"] == {
        "job_name": "redirector",
        "metrics_path": "/prometheus",
        "static_configs": [{"targets": ["127.0.0.1:8000", "127.0.0.1:8003"]}],
    }


def test_prometheus_accepts_it_and_looks_as_often_as_asked(
    tmp_path: Path, free_port: FreePort
) -> None:
    monitoring = _monitoring(tmp_path, free_port, ALERT_INTERVAL_SECONDS="1")

    monitoring.prepare()

    run("promtool", "check", "config", tmp_path / "prometheus" / "prometheus.yml")
    assert _config(tmp_path)["global"]["scrape_interval"] == "1s"


def test_without_programs_it_says_how_to_get_them(tmp_path: Path, free_port: FreePort) -> None:
    monitoring = _monitoring(tmp_path, free_port, PATH=str(tmp_path))

    assert monitoring.servers == []
    assert monitoring.said == {"Monitoring": HOW_TO_GET}


def test_a_program_may_have_the_name_that_debian_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "second"
    path.touch(mode=0o755)

    assert find(("first", "second"), str(tmp_path), None) == path
    assert find(("first",), str(tmp_path), None) is None


def test_a_taken_port_is_left_alone(tmp_path: Path, free_port: FreePort) -> None:
    port = free_port()
    with socket.create_server((HOST, port)):
        monitoring = _monitoring(tmp_path, free_port, PROMETHEUS_PORT=str(port))

    assert monitoring.said["Prometheus"] == f"http://{HOST}:7001"


def test_a_port_is_given_once(tmp_path: Path, free_port: FreePort) -> None:
    port = str(free_port())

    monitoring = _monitoring(tmp_path, free_port, PROMETHEUS_PORT=port, ALERTMANAGER_PORT=port)
    beside = _monitoring(tmp_path, free_port, PROMETHEUS_PORT=port, PORT=port)

    assert len({server.port for server in monitoring.servers}) == 2
    assert int(port) not in {server.port for server in beside.servers}


def test_a_wrong_setting_of_email_is_named(tmp_path: Path, free_port: FreePort) -> None:
    with pytest.raises(StackError, match="ALERT_EMAIL_TO: must look like"):
        _monitoring(tmp_path, free_port, ALERT_EMAIL_TO="nobody")
