"""The settings of all services: one frozen, typed class, read once from a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

Port = Annotated[int, Field(ge=1, le=65535)]


class SettingsError(ValueError):
    """A setting is missing or has a value that can't be used; the message names it."""


def _database_url(value: SecretStr) -> SecretStr:
    if not _is_url(value.get_secret_value(), "postgresql", "postgres"):
        raise ValueError("must look like postgresql://user:password@host:5432/name")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    if not _is_url(value.get_secret_value(), "redis", "rediss"):
        raise ValueError("must look like redis://:password@host:6379/0")
    return value


def _base_url(value: str) -> str:
    if not _is_url(value, "http", "https") or "?" in value or "#" in value:
        raise ValueError("must look like https://sho.rt")
    return value.rstrip("/")


def _is_url(value: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(value)
        # Looking at the port checks it.
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        # Its message holds parts of the value, be they secret or not.
        return False


def _address(value: str) -> str:
    if value and not _is_address(value):
        raise ValueError("must look like alerts@example.com")
    return value


def _addresses(value: str) -> str:
    addresses = [part.strip() for part in value.split(",")] if value else []
    if not all(_is_address(address) for address in addresses):
        raise ValueError("must look like sre@example.com, boss@example.com")
    return ", ".join(addresses)


def _is_address(value: str) -> bool:
    # Alertmanager takes an address for a template.
    return "@" in value and "{{" not in value and value.isprintable()


def _one_line(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be one line without white space at its ends")
    return value


def _secret_line(value: SecretStr) -> SecretStr:
    _one_line(value.get_secret_value())
    return value


class _FromEnvironment(BaseModel):
    """A field's environment variable is its name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings that `environ` holds; a variable that is empty counts as not set.

        Raises SettingsError, naming each variable that is missing or wrong, never its value.
        """
        given = {
            name: environ[name.upper()] for name in cls.model_fields if environ.get(name.upper())
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError("; ".join(_explain(error))) from None


class AlertSettings(_FromEnvironment):
    """How people are told; all that Prometheus and Alertmanager need to be set up."""

    smtp_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]*$")] = Field(
        default="", description="Mail server for alerts; empty: alerts are not sent by email"
    )
    smtp_port: Port = Field(
        default=587, description="Port of the mail server; on 465 TLS comes before SMTP"
    )
    smtp_user: Annotated[str, AfterValidator(_one_line)] = Field(
        default="", description="Account at the mail server; empty: without one"
    )
    smtp_password: Annotated[SecretStr, AfterValidator(_secret_line)] = Field(
        default=SecretStr(""), description="Its password"
    )
    smtp_tls: bool = Field(
        default=True, description="Whether mail may leave by TLS (STARTTLS) only"
    )
    alert_email_from: Annotated[str, AfterValidator(_address)] = Field(
        default="", description="Sender of alert emails; empty: alerts are not sent by email"
    )
    alert_email_to: Annotated[str, AfterValidator(_addresses)] = Field(
        default="", description="Who gets them, separated by commas; empty: as above"
    )
    alert_cooldown_seconds: int = Field(
        default=3_600,
        ge=1,
        le=432_000,
        description="Time after which an alert that still fires is sent again",
    )
    alert_interval_seconds: int = Field(
        default=10,
        ge=1,
        le=60,
        description="How often Prometheus looks, and how long Alertmanager collects for one email",
    )
    runbook_url: Annotated[str, AfterValidator(_one_line)] = Field(
        default="docs/RUNBOOK.md",
        description="Where your people read docs/RUNBOOK.md; alerts link to its sections",
    )

    @property
    def email_configured(self) -> bool:
        """Whether alerts leave by email."""
        return bool(self.smtp_host and self.alert_email_from and self.alert_email_to)


class Settings(AlertSettings):
    """Every setting of every service."""

    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        description="PostgreSQL: postgresql://user:password@host:port/name"
    )
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] = Field(
        description="Redis: redis://:password@host:port/0"
    )
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        default="http://localhost:5001",
        description="Public address in front of every short code; links to it are refused as loops",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe log entry that is written"
    )
    log_client_addresses: bool = Field(
        default=False, description="Whether log entries of requests name the client's address"
    )

    redirector_host: str = Field(
        default="127.0.0.1", description="Address the redirector listens on"
    )
    redirector_port: Port = Field(default=8000, description="Port the redirector listens on")
    redirector_max_connections: int = Field(
        default=10_000,
        ge=1,
        description="Client connections of one redirector; one more is answered 503 and closed",
    )
    redirector_database_connections: int = Field(
        default=4, ge=1, le=64, description="PostgreSQL connections of one redirector"
    )
    redirector_redis_connections: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Redis connections of one redirector, for look-ups: few make large batches",
    )
    redirector_pending_lookups: int = Field(
        default=2_000,
        ge=1,
        description="Look-ups that may wait on the stores; one more is answered 503 at once",
    )
    redirector_keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        description="Idle time after which a client's connection is closed; longer than nginx's 60",
    )
    redirector_drain_seconds: int = Field(
        default=5, ge=0, description="Longest wait for open requests when a redirector stops"
    )
    store_budget_ms: int = Field(
        default=250, ge=10, le=10_000, description="Longest a redirect may wait on both stores"
    )
    redis_timeout_ms: int = Field(
        default=100, ge=5, le=10_000, description="Part of STORE_BUDGET_MS that Redis may use up"
    )
    local_cache_links: int = Field(
        default=200_000, ge=1, description="Links that one redirector keeps in its own memory"
    )
    local_cache_mib: int = Field(
        default=128, ge=1, description="Memory for these links, in MiB; the smaller limit counts"
    )
    local_cache_absent: int = Field(
        default=50_000, ge=2, description="Unknown codes that one redirector remembers"
    )
    absent_ttl_seconds: int = Field(
        default=10, ge=1, le=3_600, description="How long an unknown code is remembered"
    )
    link_ttl_seconds: int = Field(
        default=86_400, ge=1, description="How long Redis keeps a link that nobody changes"
    )

    record_clicks: bool = Field(
        default=True, description="Whether redirects are counted; false: no click leaves a trace"
    )
    click_flush_ms: int = Field(
        default=250,
        ge=10,
        le=5_000,
        description="How often a redirector hands its clicks to Redis; SIGKILL loses these",
    )
    click_buffer_mib: int = Field(
        default=32,
        ge=1,
        description="Memory of one redirector for clicks that Redis doesn't take, in MiB",
    )
    click_stream_mib: int = Field(
        default=256,
        ge=1,
        description="Memory of Redis for clicks that no worker has recorded yet, in MiB",
    )
    click_country_header: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9-]*$",
        description="Header in which the proxy in front, which overwrites it, names the country",
    )
    click_retention_days: int = Field(
        default=90,
        ge=0,
        le=3_650,
        description="How long single clicks are kept; 0: never stored, only totals are",
    )

    api_host: str = Field(default="127.0.0.1", description="Address the API listens on")
    api_port: Port = Field(default=8001, description="Port the API listens on")
    api_workers: int = Field(default=2, ge=1, le=256, description="Processes of one API server")
    api_threads: int = Field(
        default=8, ge=1, le=256, description="Threads, and PostgreSQL connections, of each process"
    )
    api_max_body_bytes: int = Field(
        default=1_048_576, ge=1_024, description="Largest body of an ordinary request, in bytes"
    )
    api_max_bulk_bytes: int = Field(
        default=536_870_912, ge=1_024, description="Largest body of a bulk import, in bytes"
    )
    statement_timeout_ms: int = Field(
        default=5_000,
        ge=100,
        le=3_600_000,
        description="Longest that one SQL statement of the API may run",
    )

    worker_host: str = Field(default="127.0.0.1", description="Address the worker listens on")
    worker_port: Port = Field(default=8002, description="Port of the worker's health and metrics")
    change_log_retention_seconds: int = Field(
        default=3_600,
        ge=60,
        le=2_592_000,
        description="How long the change log is kept for redirectors that were cut off",
    )


def _explain(error: ValidationError) -> list[str]:
    problems = []
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0]).upper()
        reason = "is required" if problem["type"] == "missing" else problem["msg"]
        problems.append(f"{name}: {reason.removeprefix('Value error, ')}")
    return problems
