"""nginx in front of the local stack, by the same template as in Docker Compose."""

from __future__ import annotations

import grp
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.local import wheels
from infra.local.accounts import Account
from infra.local.ports import HOST
from shared.settings import Settings

TEMPLATES = Path(__file__).resolve().parent.parent / "nginx"

_VARIABLE = re.compile(r"\$\{([A-Z_]+)\}")


class Front:
    """nginx on `port`, its files in `folder`. Under root its workers run as `account`."""

    def __init__(
        self,
        folder: Path,
        port: int,
        account: Account | None,
        *,
        redirectors: Sequence[int],
        apis: Sequence[int],
        real_ip_from: Sequence[str] = (),
        country_header: str = "",
        access_log: str = "off",
        error_level: str = "notice",
        max_body_bytes: int = Settings.model_fields["api_max_body_bytes"].default,
        max_bulk_bytes: int = Settings.model_fields["api_max_bulk_bytes"].default,
    ) -> None:
        """`country_header` is the one to pass on to redirectors: letters, digits and hyphens."""
        self.folder = folder
        self._account = account
        self._error_level = error_level
        self._variables = {
            "LISTEN": f"{HOST}:{port}",
            "TLS": "",
            "REDIRECTOR_SERVERS": _servers(redirectors),
            "API_SERVERS": _servers(apis),
            "RESOLVER": "",
            "REAL_IP_FROM": " ".join(f"set_real_ip_from {proxy};" for proxy in real_ip_from),
            "COUNTRY_HEADER": _pass_on(country_header),
            "MAX_BODY_BYTES": str(max_body_bytes),
            "MAX_BULK_BYTES": str(max_bulk_bytes),
            "ACCESS_LOG": access_log,
        }

    @property
    def argv(self) -> Sequence[str]:
        """Runs nginx in the foreground; it works in `folder`."""
        config = str(self.folder / "nginx.conf")
        return [str(wheels.nginx()), "-e", "stderr", "-p", str(self.folder), "-c", config]

    def prepare(self) -> None:
        """Writes nginx's configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._account is not None:
            # nginx makes folders here that its workers write to.
            self.folder.chmod(0o755)
        surroundings = {
            # Only root may name an account.
            "USER": f"user {_account_names(self._account)};" if self._account else "",
            "ERROR_LEVEL": self._error_level,
            "FOLDER": re.sub(r'(["\\])', r"\\\1", str(self.folder)),
        }
        self._render("hoplink.conf", self._variables)
        self._render("nginx.conf", surroundings)

    def _render(self, name: str, variables: Mapping[str, str]) -> None:
        template = (TEMPLATES / f"{name}.template").read_text()
        (self.folder / name).write_text(render(template, variables))


def render(template: str, variables: Mapping[str, str]) -> str:
    """Fills in `${NAME}`s, as envsubst does when these variables are all it knows."""
    return _VARIABLE.sub(lambda found: variables[found[1]], template)


def _servers(ports: Sequence[int]) -> str:
    # One that hangs is left alone when there is another; few failures must not take out all.
    return " ".join(f"server {HOST}:{port} max_fails=10 fail_timeout=2s;" for port in ports)


def _pass_on(header: str) -> str:
    variable = header.lower().replace("-", "_")
    return f"proxy_set_header {header} $http_{variable};" if header else ""


def _account_names(account: Account) -> str:
    return f"{account.name} {grp.getgrgid(account.gid).gr_name}"
