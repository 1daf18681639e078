"""Which requests come from this very machine.

Owns the rule that protects what only a local page may have. A web site that rebinds its name to 127.0.0.1 reaches the
port, but its requests carry its own name in Host or Origin, so they are refused. Used by `session`; `operators` takes
the parts of it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_SAME_SITE = {"same-origin", "same-site", "none"}
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def refusal(remote: str | None, headers: Mapping[str, str], networks: Sequence[str] = ()) -> str | None:
    """Return why a request may not be served as local, as a sentence; None where it may.

    Args:
        remote: address of the peer of the connection.
        headers: of the request; looked up without regard to case by aiohttp.
        networks: besides loopback, where the peer may be.
    """
    if not is_loopback_address(remote) and not is_in(remote, networks):
        return "only pages on the machine that runs this service may ask: open it by http://127.0.0.1 there"
    if is_forwarded(headers):
        return "the request came through a proxy, so it is not known to be local"
    if not is_loopback_name(_host_of(headers.get("host", ""))):
        return "the Host header is no loopback name: open the page by http://127.0.0.1 or http://localhost"
    origin = headers.get("origin")
    if origin is not None and not is_loopback_name(urlsplit(origin).hostname or ""):
        return "the Origin header is no loopback name: only local pages may ask"
    if headers.get("sec-fetch-site", "none").lower() not in _SAME_SITE:
        return "a page of another site may not ask"
    return None


def is_loopback_name(name: str) -> bool:
    """Say whether a host name or address can only mean this machine."""
    name = name.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return _plain(ipaddress.ip_address(name)).is_loopback
    except ValueError:
        return False


def is_forwarded(headers: Mapping[str, str]) -> bool:
    """Say whether a proxy has added what it knows of the request's way."""
    return any(name in headers for name in _FORWARDED)


def is_loopback_address(remote: str | None) -> bool:
    """Say whether the peer of a connection is on this machine."""
    address = _peer(remote)
    return address is not None and address.is_loopback


def is_in(remote: str | None, networks: Sequence[str]) -> bool:
    """Say whether the peer of a connection is in one of the networks."""
    address = _peer(remote)
    return address is not None and any(address in ipaddress.ip_network(network) for network in networks)


def _peer(remote: str | None) -> _Address | None:
    try:
        return _plain(ipaddress.ip_address((remote or "").partition("%")[0]))
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _host_of(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
