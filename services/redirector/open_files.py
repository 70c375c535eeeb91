"""Open files: every client connection takes one, and systems start processes with too few."""

from __future__ import annotations

import logging
import resource

from shared.settings import Settings

_OTHERS = 64
"""Open files that are no connections to clients or stores."""

_log = logging.getLogger(__name__)


def fit(settings: Settings) -> Settings:
    """Raises this process's limit of open files as far as `settings` need it and it may.

    Where that isn't far enough, the settings returned allow fewer client connections: the stores
    must stay in reach whatever clients do.
    """
    wanted = settings.redirector_max_connections
    # Each store's connections are opened anew before broken ones are gone.
    others = _OTHERS + 2 * (
        settings.redirector_redis_connections + settings.redirector_database_connections
    )
    possible = max(1, _raise_limit(wanted + others) - others)
    if possible >= wanted:
        return settings
    _log.warning(
        "fewer client connections than REDIRECTOR_MAX_CONNECTIONS: too few open files are allowed",
        extra={"connections": possible},
    )
    return settings.model_copy(update={"redirector_max_connections": possible})


def _raise_limit(wanted: int) -> int:
    """The limit of open files, raised towards `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):
        # Some systems have another limit beside the hard one, and don't tell it.
        return soft
    return target
