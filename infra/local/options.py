"""What `make run` was asked for, by the environment and `.env`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Self

from dotenv import dotenv_values
from pydantic import TypeAdapter, ValidationError

from infra.local.errors import StackError
from infra.local.run_file import RUN_FILE
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
MAX_REDIRECTORS = 64


@dataclass(frozen=True)
class Options:
    """How the local stack is to run."""

    environ: Mapping[str, str]
    """The environment over `.env`; the services get all of it."""
    port: int
    data_dir: Path
    data_dir_given: bool
    """False: the default, which may be replaced by one that works."""
    redirectors: int
    trusted_proxies: tuple[str, ...]
    max_body_bytes: int
    max_bulk_bytes: int
    """As the API's limits, which nginx keeps too."""
    country_header: str
    monitoring: bool
    """Whether Prometheus and Alertmanager are wanted, if they are there."""
    prometheus_port: int
    alertmanager_port: int
    log_addresses: bool
    """As the services' setting LOG_CLIENT_ADDRESSES."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str], root: Path = ROOT) -> Self:
        """Raises StackError, naming the variable that can't be used."""
        from_file = {name: value or "" for name, value in dotenv_values(root / ".env").items()}
        merged = {**from_file, **environ}
        # .env is looked at only for what the environment leaves out or leaves empty.
        merged |= {name: value for name, value in from_file.items() if not environ.get(name)}
        given = merged.get("DATA_DIR", "")
        return cls(
            environ=merged,
            port=_number(merged, "PORT", default=5001, largest=65_535),
            data_dir=_absolute(root / (Path(given).expanduser() if given else ".data")),
            data_dir_given=bool(given),
            redirectors=_number(merged, "REDIRECTORS", default=1, largest=MAX_REDIRECTORS),
            trusted_proxies=_networks(merged, "TRUSTED_PROXIES"),
            max_body_bytes=_size(merged, "API_MAX_BODY_BYTES"),
            max_bulk_bytes=_size(merged, "API_MAX_BULK_BYTES"),
            country_header=_header(merged, "CLICK_COUNTRY_HEADER"),
            monitoring=_switch(merged, "MONITORING"),
            prometheus_port=_number(merged, "PROMETHEUS_PORT", default=9090, largest=65_535),
            alertmanager_port=_number(merged, "ALERTMANAGER_PORT", default=9093, largest=65_535),
            log_addresses=_boolean(merged, "LOG_CLIENT_ADDRESSES"),
        )


def pointer(root: Path = ROOT) -> Path:
    """Where tools look for run.json, wherever the data is."""
    return _absolute(root / ".data") / RUN_FILE


def fallback_data_dir(root: Path = ROOT) -> Path:
    """A data folder that everybody can enter, the same for each run of this checkout."""
    digest = hashlib.sha256(os.fsencode(_absolute(root))).hexdigest()[:10]
    return Path("/var/tmp") / f"hoplink-{digest}"  # noqa: S108  # made private, checked when used


def _absolute(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _size(environ: Mapping[str, str], name: str) -> int:
    default: int = Settings.model_fields[name.lower()].default
    return _number(environ, name, default=default, largest=2**63 - 1)


def _number(environ: Mapping[str, str], name: str, *, default: int, largest: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= largest:
        raise StackError(f"{name}={text} is no number from 1 to {largest}")
    return int(text)


def _networks(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    texts = environ.get(name, "").replace(",", " ").split()
    for text in texts:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise StackError(f"{name}={text} is neither an address nor a network") from None
    return tuple(texts)


def _header(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "")
    if not re.fullmatch("[A-Za-z0-9-]*", text):
        raise StackError(f"{name}={text} is not the name of a header")
    return text


def _switch(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "on"
    if text not in ("on", "off"):
        raise StackError(f"{name}={text} is neither on nor off")
    return text == "on"


def _boolean(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "false"
    try:
        return TypeAdapter(bool).validate_python(text)
    except ValidationError:
        raise StackError(f"{name}={text} is neither true nor false") from None
