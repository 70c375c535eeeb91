"""What a user agent tells of a visitor: the kind of device, and whether it is a person at all."""

from __future__ import annotations

import logging
import re
from typing import NamedTuple

from is_crawler import is_crawler
from is_crawler.parser import parse

REMEMBERED = 20_000
"""User agents whose meaning is kept in memory: a few MiB."""
OTHER = "other"

_DEVICES = {
    "Desktop": "desktop",
    "Mobile": "mobile",
    "Tablet": "tablet",
    "SmartTV": "tv",
    "Console": "console",
}
_NOT_BOTS = re.compile("cubot", re.IGNORECASE)
"""A maker of phones, whose name ends like one of a bot."""

_log = logging.getLogger(__name__)


class Visitor(NamedTuple):
    """Who clicked, as far as it can be told."""

    device: str
    """desktop, mobile, tablet, tv, console or other."""
    is_bot: bool
    """A crawler, a link preview, a monitor, a program: anything that is no browser."""


def classify(user_agent: str) -> Visitor:
    """Never fails; who sends no user agent is a bot."""
    try:
        device = parse(user_agent).device
        is_bot = is_crawler(_NOT_BOTS.sub("", user_agent))
    except Exception:  # noqa: BLE001  # no user agent, however odd, may stop the recording
        _log.exception("user agent can't be read", extra={"user_agent": user_agent})
        return Visitor(OTHER, is_bot=True)
    return Visitor(_DEVICES.get(device or "", OTHER), is_bot)
