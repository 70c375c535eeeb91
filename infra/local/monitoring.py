"""Prometheus and Alertmanager, where this machine has them."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from infra.local.accounts import Account
from infra.local.errors import StackError
from infra.local.options import Options
from infra.local.ports import HOST, is_free
from monitoring.alertmanager import render as alertmanager_files
from monitoring.prometheus import render as prometheus_files
from shared.settings import AlertSettings, SettingsError

PROMETHEUS = ("prometheus",)
ALERTMANAGER = ("alertmanager", "prometheus-alertmanager")
"""What Debian calls it comes last."""
HOW_TO_GET = (
    "needs prometheus and alertmanager on PATH "
    "(Debian: apt-get install prometheus prometheus-alertmanager; Mac: brew install the two)"
)


def find(names: Sequence[str], path: str | None, account: Account | None) -> Path | None:
    """The first program of these names on `path` that `account` can execute."""
    for name in names:
        found = shutil.which(name, path=path)
        if found and (account is None or account.can_enter(Path(found).parent)):
            return Path(found)
    return None


class Monitoring:
    """What of it this machine has, set up for a stack whose services have the ports `targets`."""

    def __init__(
        self,
        options: Options,
        data_dir: Path,
        account: Account | None,
        ports: Iterator[int],
        targets: Mapping[str, Sequence[int]],
    ) -> None:
        """Raises StackError when a setting of it can't be used."""
        try:
            settings = AlertSettings.from_env(options.environ)
        except SettingsError as error:
            raise StackError(f"setting {error}") from None
        self._account = account
        path = options.environ.get("PATH")
        prometheus, alertmanager = (
            find(PROMETHEUS, path, account),
            find(ALERTMANAGER, path, account),
        )
        self.servers: list[Alertmanager | Prometheus] = []
        self.said: dict[str, str] = {}
        """What there is to say of each, by its name."""

        alertmanager_port = None
        if alertmanager:
            alertmanager_port = _port(options.alertmanager_port, {options.port}, ports)
            folder = data_dir / Alertmanager.name
            self.servers.append(Alertmanager(alertmanager, folder, alertmanager_port, settings))
            self.said["Alerts"] = (
                f"http://{HOST}:{alertmanager_port}, {alertmanager_files.said(settings)}"
            )
        if prometheus:
            port = _port(options.prometheus_port, {options.port, alertmanager_port}, ports)
            folder = data_dir / Prometheus.name
            self.servers.append(
                Prometheus(
                    prometheus,
                    folder,
                    port,
                    settings,
                    targets=targets,
                    alertmanager=alertmanager_port,
                )
            )
            self.said["Prometheus"] = f"http://{HOST}:{port}"
        if not (prometheus and alertmanager):
            self.said["Monitoring"] = HOW_TO_GET

    def prepare(self) -> None:
        for server in self.servers:
            server.prepare(self._account)


class Alertmanager:
    """Alertmanager on `port`, its files in `folder`."""

    name = "alertmanager"

    def __init__(self, program: Path, folder: Path, port: int, settings: AlertSettings) -> None:
        self.folder = folder
        self.port = port
        self._settings = settings
        self.argv = (
            str(program),
            f"--config.file={folder / alertmanager_files.CONFIG}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{port}",
            # Otherwise it looks for others of its kind, on all addresses.
            "--cluster.listen-address=",
        )

    def prepare(self, account: Account | None) -> None:
        """Writes its configuration."""
        _make_folders(self.folder)
        alertmanager_files.render(self._settings, self.folder)
        _give(self.folder, account)


class Prometheus:
    """Prometheus on `port`, its files in `folder`; `targets` are the ports of each job.

    It has the rules and the jobs of Docker Compose, as far as there are targets for them.
    """

    name = "prometheus"

    def __init__(
        self,
        program: Path,
        folder: Path,
        port: int,
        settings: AlertSettings,
        *,
        targets: Mapping[str, Sequence[int]],
        alertmanager: int | None,
    ) -> None:
        self.folder = folder
        self.port = port
        self._settings = settings
        self._targets = {**targets, "prometheus": [port]}
        self._alertmanagers = [] if alertmanager is None else [alertmanager]
        self.argv = (
            str(program),
            f"--config.file={folder / prometheus_files.CONFIG}",
            f"--storage.tsdb.path={folder / 'data'}",
            # The longest window of an alert is three days.
            "--storage.tsdb.retention.time=7d",
            "--storage.tsdb.retention.size=512MB",
            f"--web.listen-address={HOST}:{port}",
        )

    def prepare(self, account: Account | None) -> None:
        """Writes its configuration, with a copy of the rules: it may not enter the checkout."""
        _make_folders(self.folder)
        prometheus_files.render(self._settings, self.folder)
        file = self.folder / prometheus_files.CONFIG
        config = self._with_addresses(yaml.safe_load(file.read_text()))
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        _give(self.folder, account)

    def _with_addresses(self, config: Mapping[str, Any]) -> dict[str, Any]:
        targets = {**self._targets, "alertmanager": self._alertmanagers}
        return {
            **config,
            "alerting": {
                **config["alerting"],
                "alertmanagers": [_static(self._alertmanagers)],
            },
            "scrape_configs": [
                _without_discovery(job) | _static(targets[job["job_name"]])
                for job in config["scrape_configs"]
                if targets.get(job["job_name"])
            ],
        }


def _port(wanted: int, given: Collection[int | None], others: Iterator[int]) -> int:
    """`wanted`, or another when it is taken, or `given` to what isn't started yet."""
    return wanted if wanted not in given and is_free(wanted) else next(others)


def _static(ports: Sequence[int]) -> dict[str, object]:
    return {"static_configs": [{"targets": [f"{HOST}:{port}" for port in ports]}]}


def _without_discovery(job: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in job.items() if not key.endswith("_sd_configs")}


def _make_folders(folder: Path) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)


def _give(folder: Path, account: Account | None) -> None:
    """Lets `account` read what is in `folder` and write to its data, and nobody else."""
    if account is None:
        folder.chmod(0o700)
        return
    # The folder stays ours: who runs as the account can't lead us elsewhere by a link.
    folder.chmod(0o755)
    for path in (*folder.iterdir(), *folder.glob("rules/*")):
        account.give(path)
    (folder / "data").chmod(0o700)
