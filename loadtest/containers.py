"""A stack of Docker Compose as those see it who run it: its containers, and what befalls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEALTHY_SECONDS = 90


class DockerFailed(Exception):
    """A command of Docker failed; the message is what it said."""


class Compose:
    """One project; `files` are added to docker-compose.yml."""

    def __init__(self, project: str = "hoplink", files: Sequence[str] = ()) -> None:
        self.project = project
        options = ["docker-compose.yml", *files]
        self._compose = ["docker", "compose", "-p", project]
        self._compose += [word for file in options for word in ("-f", file)]

    def run(self, *arguments: str, given: str | None = None) -> str:
        """`docker compose ...`; raises DockerFailed."""
        return _run([*self._compose, *arguments], given)

    def up(self, service: str, scale: int | None = None) -> None:
        """Starts a service, or so many containers of it, and waits until they are healthy."""
        options = [] if scale is None else ["--scale", f"{service}={scale}"]
        self.run("up", "-d", "--no-recreate", "--wait", *options, service)

    def roll(self, service: str) -> None:
        """The rolling update of docs/DEPLOY.md."""
        _run([str(ROOT / "infra" / "docker" / "roll.sh"), service])

    def containers(self, service: str) -> list[str]:
        """The ids of those that run."""
        return self.run("ps", "--quiet", service).split()

    def kill(self, service: str) -> None:
        """SIGKILL to the first process of the service's first container, as by the kernel.

        `docker kill` would not do: Docker takes it for a wish that the container stays away.
        """
        container = self.containers(service)[0]
        pid = int(_run(["docker", "inspect", "--format", "{{.State.Pid}}", container]))
        os.kill(pid, signal.SIGKILL)

    def wait_healthy(self, service: str) -> None:
        """Raises DockerFailed when a container of the service is not healthy in time."""
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            states = self.run("ps", "--all", "--format", "json", service).splitlines()
            if states and all(json.loads(state)["Health"] == "healthy" for state in states):
                return
            if time.monotonic() > deadline:
                raise DockerFailed(f"{service} is not healthy again")
            time.sleep(0.5)

    def disconnect(self, service: str, network: str) -> None:
        """Takes all containers of a service off a network."""
        for container in self.containers(service):
            _run(["docker", "network", "disconnect", f"{self.project}_{network}", container])

    def connect(self, service: str, network: str) -> None:
        """Undoes `disconnect`."""
        for container in self.containers(service):
            command = ["docker", "network", "connect", "--alias", service]
            _run([*command, f"{self.project}_{network}", container])

    def remove_file(self, service: str, path: str) -> None:
        """Removes it from a volume of a service, whether that runs or not."""
        self.run("run", "--rm", "--no-deps", "--entrypoint", "rm", service, "-f", path)

    def sql(self, statement: str) -> str:
        """What PostgreSQL answers, a row a line."""
        psql = ["psql", "-U", "postgres", "-d", "hoplink", "-At", "-v", "ON_ERROR_STOP=1"]
        return self.run("exec", "-T", "postgres", *psql, given=statement)


def _run(command: Sequence[str], given: str | None = None) -> str:
    done = subprocess.run(
        command, cwd=ROOT, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DockerFailed(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return done.stdout
