"""The process supervisor: its configuration, its start and stop, and what it says of programs."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

from infra.local.errors import StackError
from infra.local.programs import FOLDER, Program, Stage
from infra.local.supervisord import remove_socket

_CONFIG = """\
[supervisord]
nodaemon = true
silent = true
logfile = logs/supervisor.log
logfile_maxbytes = 5MB
logfile_backups = 2
pidfile = {folder}/supervisord.pid
minfds = 1024
user = {user}

[unix_http_server]
file = {socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command = "%(ENV_HOPLINK_PYTHON)s" -P -m infra.local.child {name}
autostart = false
autorestart = true
startsecs = 1
startretries = 3
stopsignal = {stop_signal}
stopwaitsecs = {stop_seconds}
killasgroup = true
redirect_stderr = true
stdout_logfile = logs/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
"""

_GROUP = """
[group:{name}]
programs = {programs}
priority = {priority}
"""

STOP_SECONDS = 60
"""The longest that an ordered stop may take."""


@dataclass(frozen=True)
class State:
    """What the supervisor knows of a program."""

    name: str
    pid: int | None
    """None while it doesn't run."""
    failed: bool
    """It ended before it had run for a second."""
    given_up: bool
    """So often that the supervisor doesn't start it again by itself."""
    problem: str
    """Why it could not be started at all, if so."""


class Supervisor:
    """Supervises `programs`, whose state and logs are in `data_dir`."""

    def __init__(self, data_dir: Path, programs: Sequence[Program]) -> None:
        self._data_dir = data_dir
        self._stages = {program.name: program.stage for program in programs}
        self._socket = socket_of(data_dir)
        _make_private(self._socket.parent)
        self._process: subprocess.Popen[bytes] | None = None
        self._write_config(programs)

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the supervisor, in a session of its own, and none of its programs."""
        errors = self._data_dir / FOLDER / "supervisor.errors"
        with errors.open("wb") as output:
            # It works in DATA_DIR and is told relative paths: its configuration can't express all.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "infra.local.supervisord", "-c", self._config.name],
                cwd=self._config.parent,
                env={
                    **os.environ,
                    "HOPLINK_PYTHON": sys.executable,
                    "HOPLINK_SOCKET": str(self._socket),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while not self._answers():
            if not self.is_alive or time.monotonic() > deadline:
                said = errors.read_text(errors="replace").strip().splitlines()
                raise StackError(f"the supervisor can't start: {said[-1] if said else 'no answer'}")
            time.sleep(0.02)

    def start_program(self, name: str) -> None:
        """Starts a program without waiting for it; no effect when it runs or is being started."""
        try:
            self._call(lambda rpc: rpc.startProcess(self._full_name(name), False))
        except Fault as fault:
            # A program that can't be executed is told by its state.
            if fault.faultCode not in (Faults.ALREADY_STARTED, Faults.SPAWN_ERROR):
                raise

    def states(self) -> Mapping[str, State]:
        """The state of each program; raises OSError when the supervisor is gone."""
        told = self._call(lambda rpc: rpc.getAllProcessInfo())
        return {info["name"]: _state(info) for info in told}

    def stop(self) -> None:
        """Stops all programs in order, then the supervisor. Returns when it is gone."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        remove_socket(self._socket)

    @property
    def _config(self) -> Path:
        return self._data_dir / "supervisord.conf"

    def _full_name(self, name: str) -> str:
        return f"{_group(self._stages[name])}:{name}"

    def _answers(self) -> bool:
        try:
            self.states()
        except OSError:
            return False
        return True

    def _call(self, method: Callable[[Any], Any]) -> Any:
        transport = SupervisorTransport(serverurl=f"unix://{self._socket}")
        with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return method(proxy.supervisor)

    def _write_config(self, programs: Sequence[Program]) -> None:
        config = _CONFIG.format(folder=FOLDER, socket=self._socket, user=os.geteuid())
        for program in programs:
            program.save(self._data_dir)
            config += _PROGRAM.format(
                name=program.name,
                stop_signal=program.stop_signal,
                stop_seconds=program.stop_seconds,
            )
        for stage in Stage:
            names = _names(programs, stage)
            if not names:
                # Stopping an empty group takes the supervisor a second, too.
                continue
            config += _GROUP.format(name=_group(stage), programs=names, priority=stage.value)
        self._config.write_text(config)


def _names(programs: Iterable[Program], stage: Stage) -> str:
    return ",".join(program.name for program in programs if program.stage is stage)


def _group(stage: Stage) -> str:
    return stage.name.lower()


def _state(info: Mapping[str, Any]) -> State:
    return State(
        name=info["name"],
        pid=info["pid"] or None,
        failed=info["statename"] in ("BACKOFF", "EXITED", "FATAL"),
        given_up=info["statename"] == "FATAL",
        problem=info["spawnerr"],
    )


def socket_of(data_dir: Path) -> Path:
    """Where the supervisor of `data_dir` listens.

    A socket's path must be short, a hundred characters at most; so it isn't in `data_dir`. It is
    the same one for the same data, so that no run leaves one behind for good.
    """
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"hoplink-{os.geteuid()}-{digest}"
    return folder / "supervisor.sock"


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise StackError(f"{folder} belongs to somebody else; remove it and run make again")
