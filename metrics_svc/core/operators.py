"""Who may change something over HTTP.

Owns the one rule for all requests that are no mere question. The port has no login, so the peer has to be this machine
or stand in a network that the operator lists. A browser reaches the port on behalf of any page it shows, and names that
page's origin: it must be one that only leads here, an address or localhost, or one the operator lists, for a name could
be rebound to this address. A JSON body is wanted because no form of another site can send one without asking first.
Called by `http_api` for every such request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from lanecast.errors import StatusError
from metrics_svc.core.loopback import is_forwarded, is_in, is_loopback_address, is_loopback_name

INVALID_ARGUMENT, PERMISSION_DENIED = 3, 7
"""Canonical gRPC codes."""


@dataclass(frozen=True, slots=True)
class Operators:
    """Whose requests may change something besides those of this machine and its own pages."""

    networks: tuple[str, ...] = ()
    """Where the peer of a connection may be."""
    origins: tuple[str, ...] = ()
    """Origins of pages."""

    def check(self, remote: str | None, headers: Mapping[str, str]) -> None:
        """Let a request pass that may change something.

        Args:
            remote: address of the peer of the connection.
            headers: of the request; looked up without regard to case by aiohttp.

        Raises:
            StatusError: it may not; `NOT_LOCAL` for its peer, `FOREIGN_REQUEST` for its page, `CONTENT_TYPE`.
        """
        if (problem := self._foreign_peer(remote, headers)) is not None:
            raise StatusError(PERMISSION_DENIED, "NOT_LOCAL", problem)
        if (problem := self._foreign_page(headers)) is not None:
            raise StatusError(PERMISSION_DENIED, "FOREIGN_REQUEST", problem)
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            text = "send a JSON body with the header `Content-Type: application/json`"
            raise StatusError(INVALID_ARGUMENT, "CONTENT_TYPE", text)

    def _foreign_peer(self, remote: str | None, headers: Mapping[str, str]) -> str | None:
        if is_in(remote, self.networks):
            return None
        if not is_loopback_address(remote):
            return "only this machine may change something here: do it there, or list your network in operator_networks"
        if is_forwarded(headers):
            return "the request came through a proxy: list its address in operator_networks if it checks who asks"
        return None

    def _foreign_page(self, headers: Mapping[str, str]) -> str | None:
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site", "none").lower() in {"none", "same-origin"}:
                return None
            return "a page of another site may change nothing here"
        if origin in self.origins or _is_own(origin, headers.get("host", "")):
            return None
        return f"pages of {origin[:100]} may change nothing here: list it in operator_origins, or open it by address"


def _is_own(origin: str, host: str) -> bool:
    """Say whether an origin is the very address that was asked, under a name that cannot lead elsewhere."""
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return False
    return parts.netloc.lower() == host.lower() and (is_loopback_name(name) or _is_address(name))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
