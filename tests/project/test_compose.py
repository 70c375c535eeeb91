"""docker-compose.yml keeps the rules that docs/DEPLOY.md promises."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from shared.settings import AlertSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: Mapping[str, Any] = yaml.safe_load(TEXT)
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = ("redirector", "api", "worker")
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
BUILT = [service["image"] for service in SERVICES.values() if "build" in service]
EXAMPLE = dotenv_values(ROOT / ".env.example")
DOCKERFILE = (ROOT / "infra" / "docker" / "Dockerfile").read_text()

every_service = pytest.mark.parametrize("name", SERVICES)


def _default(value: str) -> str:
    """What `${NAME:-value}` is without a .env."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


class TestEveryContainer:
    @every_service
    def test_comes_back_by_itself_unless_it_is_meant_to_end(self, name: str) -> None:
        assert SERVICES[name]["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")

    @every_service
    def test_has_limits(self, name: str) -> None:
        limits = SERVICES[name]["deploy"]["resources"]["limits"]

        assert re.fullmatch(r"\d+[mg]", _default(limits["memory"]))
        # More than a machine has is refused by Docker; two cores are what docs/DEPLOY.md asks for.
        assert 0 < float(_default(limits["cpus"])) <= 2
        assert limits["pids"] > 0

    @every_service
    def test_may_do_nothing_to_the_machine(self, name: str) -> None:
        service = SERVICES[name]

        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert not {"privileged", "cap_add", "pid", "ipc"} & set(service)
        assert service.get("network_mode", "none") == "none"
        assert "docker.sock" not in str(service)

    @every_service
    def test_keeps_its_log_short(self, name: str) -> None:
        assert SERVICES[name]["logging"]["options"] == {"max-size": "10m", "max-file": "5"}

    @every_service
    def test_mounts_nothing_writable_but_named_volumes(self, name: str) -> None:
        for mount in SERVICES[name].get("volumes", []):
            source, _, rest = mount.partition(":")
            assert source in COMPOSE["volumes"] or rest.endswith(":ro"), mount

    @every_service
    def test_that_lasts_is_checked_and_has_time_to_stop(self, name: str) -> None:
        service = SERVICES[name]
        if name in ONE_SHOT:
            return
        assert _seconds(service["stop_grace_period"]) >= 10
        if "build" in service:
            target = service["build"]["target"]
            stage = re.search(rf"FROM \S+ AS {target}\n(.*?)(?:\nFROM|\Z)", DOCKERFILE, re.DOTALL)
            assert stage
            assert "HEALTHCHECK" in stage[1]
        else:
            assert service["healthcheck"]["test"]


class TestNetworks:
    def test_nothing_but_nginx_is_published_beyond_loopback(self) -> None:
        for name, service in SERVICES.items():
            for port in service.get("ports", []):
                assert name == "nginx" or port.startswith("127.0.0.1:"), f"{name} publishes {port}"

    def test_the_stores_have_a_network_without_a_way_out(self) -> None:
        assert COMPOSE["networks"]["stores"]["internal"] is True
        for name in ("postgres", "redis"):
            assert SERVICES[name]["networks"] == ["stores"]
            assert "ports" not in SERVICES[name]

    def test_nginx_does_not_reach_the_stores(self) -> None:
        assert SERVICES["nginx"]["networks"] == ["front"]


class TestImages:
    def test_every_version_is_pinned_and_may_be_chosen(self) -> None:
        for name, service in SERVICES.items():
            if service["image"] not in BUILT:
                assert re.fullmatch(
                    r"\$\{[A-Z_]+:-[a-z0-9./_-]+:v?\d+\.\d+[\w.-]*\}", service["image"]
                ), name
        assert set(re.findall(r"^FROM ([a-z]+:\S+)", DOCKERFILE, re.MULTILINE)) == {
            "python:3.13-slim"
        }

    def test_each_is_built_by_one_service(self) -> None:
        assert len(BUILT) == len(set(BUILT))

    def test_nginx_is_the_same_in_both_files(self) -> None:
        (asked,) = re.findall(r"NGINX_IMAGE: \$\{NGINX_IMAGE:-(\S+)\}", TEXT)

        assert f"ARG NGINX_IMAGE={asked}\n" in DOCKERFILE
        major, minor, patch = map(int, re.findall(r"\d+", asked)[:3])
        assert (major, minor, patch) >= (1, 27, 3), "`server NAME resolve` needs it"

    def test_the_stores_are_the_versions_that_the_code_is_written_for(self) -> None:
        assert ":-postgres:16." in SERVICES["postgres"]["image"]
        assert ":-redis:7." in SERVICES["redis"]["image"]

    def test_builds_get_what_the_dockerfile_copies(self) -> None:
        rules = (ROOT / "infra" / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
        allowed = [rule[1:] for rule in rules if rule.startswith("!")]

        lines = re.findall(
            r"^COPY (?!--from=\S+-packages)(?:--\S+ )*(.*) \S+$", DOCKERFILE, re.MULTILINE
        )
        sources = {source.removeprefix("/source/") for line in lines for source in line.split()}
        sources.remove(".")
        assert "*" in rules
        assert not [
            source
            for source in sources
            if not any(
                fnmatch(source, rule)
                or source.startswith(f"{rule}/")
                or rule.startswith(f"{source}/")
                for rule in allowed
            )
        ]

    def test_needs_no_registry_feature(self) -> None:
        assert "@sha256" not in TEXT + DOCKERFILE
        assert not DOCKERFILE.startswith("# syntax")


class TestNginx:
    SCRIPT = (ROOT / "infra" / "docker" / "nginx.sh").read_text()

    def test_every_variable_of_the_templates_is_filled_in(self) -> None:
        exported = set(
            re.findall(
                r"[A-Z_]+", " ".join(re.findall(r"^export (.*)$", self.SCRIPT, re.MULTILINE))
            )
        )

        templates = (ROOT / "infra" / "nginx").glob("*.template")
        assert exported == {
            name for path in templates for name in re.findall(r"\$\{([A-Z_]+)\}", path.read_text())
        }

    def test_limits_are_those_of_the_api(self) -> None:
        defaults = dict(re.findall(r"\$\{(API_\w+):-(\d+)\}", self.SCRIPT))

        assert defaults == {
            name.upper(): str(Settings.model_fields[name].default)
            for name in ("api_max_body_bytes", "api_max_bulk_bytes")
        }

    def test_every_variable_that_it_reads_reaches_it(self) -> None:
        read = set(re.findall(r"\$\{([A-Z_]+):-", self.SCRIPT))

        assert read == set(SERVICES["nginx"]["environment"])


@pytest.mark.parametrize(
    ("script", "name", "value"),
    [
        ("nginx.sh", "TRUSTED_PROXIES", "nonsense"),
        ("nginx.sh", "TRUSTED_PROXIES", "10.0.0.1, beef"),
        ("redis.sh", "REDIS_MAXMEMORY", "lots"),
        ("redis.sh", "REDIS_MAXMEMORY", "-1mb"),
        ("redis.sh", "REDIS_PASSWORD", 'se"cret'),
        ("postgres.sh", "POSTGRES_PASSWORD", "se@cret"),
        ("postgres.sh", "POSTGRES_MAX_CONNECTIONS", "lots"),
        ("postgres.sh", "POSTGRES_SHARED_BUFFERS", "256"),
        ("postgres.sh", "POSTGRES_CACHE_SIZE", "lots"),
    ],
)
def test_a_bad_value_ends_a_container_with_one_line_that_names_it(
    script: str, name: str, value: str
) -> None:
    given = SERVICES[script.removesuffix(".sh")]["environment"]
    environ = {key: _default(setting or "") for key, setting in given.items()} | {
        "POSTGRES_PASSWORD": "x",
        "REDIS_PASSWORD": "x",
        "PATH": os.environ["PATH"],
        name: value,
    }

    done = subprocess.run(
        ["sh", ROOT / "infra" / "docker" / script, "run"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hoplink: setting {name}: ")
    assert "PASSWORD" not in name or value not in line


class TestSettings:
    @pytest.mark.parametrize("service", OURS)
    def test_every_one_reaches_every_service_but_a_password_that_none_uses(
        self, service: str
    ) -> None:
        environment = SERVICES[service]["environment"]

        needed = {name.upper() for name in Settings.model_fields} - {"SMTP_PASSWORD"}
        assert needed <= set(environment)
        assert "SMTP_PASSWORD" not in environment

    def test_what_is_set_here_is_what_only_a_container_knows(self) -> None:
        environment = SERVICES["api"]["environment"]

        assert {name for name, value in environment.items() if value is not None} == {
            *("DATABASE_URL", "REDIS_URL", "BASE_URL"),
            *(f"{service.upper()}_{part}" for service in OURS for part in ("HOST", "PORT")),
        }

    def test_the_example_has_all_that_is_required(self) -> None:
        required = set(re.findall(r"\$\{(\w+):\?", TEXT))

        assert {"POSTGRES_PASSWORD", "REDIS_PASSWORD"} <= required
        for name in required:
            assert EXAMPLE[name], name

    def test_every_variable_is_explained(self) -> None:
        documented = (ROOT / "docs" / "CONFIGURATION.md").read_text()

        for name in sorted(set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))):
            assert f"`{name}`" in documented, name

    def test_prometheus_and_alertmanager_get_all_that_their_renderers_use(self) -> None:
        prometheus = (ROOT / "monitoring" / "prometheus" / "render.py").read_text()
        used = {name.upper() for name in re.findall(r"settings\.([a-z]\w+)", prometheus)}

        assert set(SERVICES["prometheus-config"]["environment"]) == used
        assert set(SERVICES["alertmanager-config"]["environment"]) == {
            name.upper() for name in AlertSettings.model_fields
        }

    def test_grafana_knows_how_often_prometheus_looks(self) -> None:
        given = SERVICES["grafana"]["environment"]["ALERT_INTERVAL_SECONDS"]
        sources = ROOT / "monitoring" / "grafana" / "provisioning" / "datasources"

        assert _default(given) == str(AlertSettings().alert_interval_seconds)
        assert "timeInterval: ${ALERT_INTERVAL_SECONDS}s" in (
            (sources / "prometheus.yml").read_text()
        )

    def test_redis_never_evicts_what_has_no_time_to_live(self) -> None:
        script = (ROOT / "infra" / "docker" / "redis.sh").read_text()

        (policy,) = re.findall(r"^maxmemory-policy (\S+)$", script, re.MULTILINE)
        assert policy.startswith("volatile-")
        assert "appendonly yes" in script

    def test_redis_has_room_for_the_whole_stream_of_clicks(self) -> None:
        given = _default(SERVICES["redis"]["environment"]["REDIS_MAXMEMORY"])
        stream: int = Settings.model_fields["click_stream_mib"].default

        assert int(given.removesuffix("mb")) >= 2 * stream


def _seconds(value: str) -> int:
    return int(value.removesuffix("s"))
