"""Whether a URL leads back to the shortener itself: a loop."""

from __future__ import annotations

from ipaddress import ip_address
from string import digits
from typing import NamedTuple

from pydantic_core import Url, ValidationError

_DEFAULT_PORTS = {"http": 80, "https": 443}


class _Address(NamedTuple):
    host: str
    port: int | None
    """None: the scheme's own, since servers lead from http to https there."""


class OwnAddress:
    """The address in front of every short code, however it is spelled."""

    def __init__(self, base_url: str) -> None:
        self._own = _address(base_url)

    def refuse(self, url: str) -> None:
        """Raises ValueError if `url` leads here, or is none that a browser understands."""
        if _address(url) == self._own:
            raise ValueError("must not point back at the shortener")


def _address(url: str) -> _Address:
    # A browser's reading of a URL (WHATWG's), not RFC 3986's: it takes "http://0x7f.1\\x" for
    # the host 127.0.0.1, and so will whoever follows the link.
    try:
        parts = Url(url)
    except ValidationError:
        raise ValueError("must be a URL with a host that can be looked up") from None
    host = (parts.host or "").rstrip(".")
    port = None if parts.port == _DEFAULT_PORTS.get(parts.scheme) else parts.port
    return _Address("localhost" if _is_loopback(host) else host, port)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    if not host.endswith(("]", *digits)):
        return False  # no address, which would be the dearest thing to find out
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified
