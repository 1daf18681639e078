"""Which requests may change something over HTTP.

Owns the rule that keeps web pages of others from doing so. The port has no login: who reaches it may use it, as with
gRPC. A browser, though, reaches it on behalf of any page it shows. Browsers name that page's origin, so it must be one
that only leads here: an address, localhost, or a name the operator lists. A name could be rebound to this address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from metrics_svc.core.loopback import is_loopback_name


def refusal(headers: Mapping[str, str], allowed: Sequence[str]) -> str | None:
    """Return why a request may change nothing, as a sentence; None where it may.

    Args:
        headers: of the request; looked up without regard to case by aiohttp.
        allowed: origins that may besides.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return "send a JSON body with the header `Content-Type: application/json`"
    origin = headers.get("origin")
    if origin is None:
        if headers.get("sec-fetch-site", "none").lower() in {"none", "same-origin"}:
            return None
        return "a page of another site may change nothing here"
    if origin in allowed:
        return None
    host = urlsplit(origin).hostname or ""
    if urlsplit(origin).netloc.lower() == headers.get("host", "").lower() and (
        is_loopback_name(host) or _address(host)
    ):
        return None
    return f"pages of {origin[:100]} may change nothing here: add it to operator_origins, or open the page by address"


def _address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
