"""Who the servers run as: PostgreSQL refuses root, so under root the stores run as `nobody`."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from infra.local.errors import StackError


class RunAs(TypedDict, total=False):
    """Arguments of subprocess.run and Popen that say who runs a process."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """An unprivileged account that root starts servers as."""

    name: str
    uid: int
    gid: int

    def give(self, path: Path) -> None:
        """Makes `path` this account's own."""
        os.chown(path, self.uid, self.gid)

    def drop_privileges(self) -> None:
        """Turns this process, root's, into the account's for good."""
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)

    def can_enter(self, folder: Path) -> bool:
        """Whether the account reaches files in `folder`; asked of the kernel, acting as it."""
        tried = subprocess.run(
            ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)],
            cwd="/",
            check=False,
            capture_output=True,
            **run_as(self),
        )
        return tried.returncode == 0


def unprivileged() -> Account | None:
    """The account for servers that refuse root; None when this process isn't root's."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise StackError(
            "run as root, the stores need an account named nobody, and there is none; "
            "run make as an ordinary user"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def run_as(account: Account | None) -> RunAs:
    """What makes subprocess start a process as `account`; as oneself when it is None."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}
