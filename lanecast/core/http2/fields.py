"""Which header fields a request, an answer and trailers may consist of (RFC 9113, sections 8.2 and 8.3).

Owns what makes a message malformed, which ends its stream and not the connection. Used by `connection`, once per call
and not per message. What gRPC wants of the fields beyond that is `core.grpc_wire`'s. Pure.
"""

from __future__ import annotations

import re

from lanecast.core.http2.events import Headers

_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
"""A token without capitals; all that begin with a colon are named elsewhere."""
_FORBIDDEN_BYTES = re.compile(rb"[\0\r\n]")
_OF_CONNECTIONS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_OF_REQUESTS = frozenset((b":method", b":scheme", b":path", b":authority"))
_NEEDED = frozenset((b":method", b":scheme", b":path"))
_STATUS = re.compile(rb"[1-5][0-9]{2}")


def is_request(headers: Headers) -> bool:
    """Say whether headers may begin a request."""
    pseudo = _pseudo_fields(headers)
    return pseudo is not None and pseudo.keys() <= _OF_REQUESTS and all(pseudo.get(name) for name in _NEEDED)


def is_answer(headers: Headers) -> bool:
    """Say whether headers may begin an answer."""
    pseudo = _pseudo_fields(headers)
    return pseudo is not None and pseudo.keys() == {b":status"} and bool(_STATUS.fullmatch(pseudo[b":status"]))


def is_interim(headers: Headers) -> bool:
    """Say whether an answer only announces another one."""
    return dict(headers)[b":status"].startswith(b"1")


def are_trailers(headers: Headers) -> bool:
    """Say whether headers may be trailers."""
    return _pseudo_fields(headers) == {}


def _pseudo_fields(headers: Headers) -> dict[bytes, bytes] | None:
    """Return the fields that begin with a colon; None where a field is one that HTTP/2 forbids."""
    pseudo: dict[bytes, bytes] = {}
    regular = False
    for name, value in headers:
        if not _NAME.fullmatch(name) or _FORBIDDEN_BYTES.search(value):
            return None
        if name.startswith(b":"):
            if regular or name in pseudo:
                return None
            pseudo[name] = value
            continue
        regular = True
        if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
            return None
    return pseudo
