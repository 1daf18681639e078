"""Which HTTP requests become WebSockets, and what the others get.

Owns the table of paths and refusals. The WebSocket part of an upgrade (key, version, Origin, subprotocol) is checked by
the library that the shell uses; everything that comes before that is decided here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

WEBSOCKET_PATH = "/v1/ws"
BINARY_SUBPROTOCOL = "lanecast.v1.proto"
JSON_SUBPROTOCOL = "lanecast.v1.json"
SUBPROTOCOLS = (BINARY_SUBPROTOCOL, JSON_SUBPROTOCOL)

MAX_REQUEST_LINE_BYTES = 4 * 1024
MAX_HEAD_BYTES = 8 * 1024
MAX_HEADERS = 64

_PHRASES = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 414: "URI Too Long", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Readiness:
    """What decides whether the gateway takes connections."""

    draining: bool
    upstream: bool
    """True while the publisher is connected."""
    full: bool
    """True at the connection cap."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that ends the connection."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    extra: tuple[tuple[str, str], ...] = ()

    def serialize(self) -> bytes:
        """Return the bytes of the answer."""
        head = [
            f"HTTP/1.1 {self.status} {_PHRASES[self.status]}",
            "Connection: close",
            f"Content-Length: {len(self.body)}",
            f"Content-Type: {self.content_type}",
            "Cache-Control: no-store",
            *(f"{name}: {value}" for name, value in self.extra),
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + self.body


def refuse(status: int, sentence: str, *extra: tuple[str, str]) -> Answer:
    """Return a refusal that says what to do in one sentence."""
    return Answer(status, sentence.encode() + b"\n", extra=extra)


def check_head(head: bytes) -> Answer | None:
    """Look at what has come of a request before it is parsed; return a refusal, or None while it may go on."""
    line, ended, _ = head.partition(b"\n")
    if len(line) > MAX_REQUEST_LINE_BYTES:
        return refuse(414, f"The request line is longer than {MAX_REQUEST_LINE_BYTES} bytes: shorten the URL.")
    end = head.find(b"\r\n\r\n")
    if (end if end >= 0 else len(head)) > MAX_HEAD_BYTES:
        return refuse(431, f"The headers are larger than {MAX_HEAD_BYTES} bytes: send fewer or shorter ones.")
    parts = line.strip().split(b" ")
    if ended and len(parts) == 3 and parts[2].startswith(b"HTTP/1.") and parts[0] != b"GET" and not is_preflight(head):
        return refuse(405, "Only GET is answered here.", ("Allow", "GET"))
    if head.count(b"\n", 0, end if end >= 0 else len(head)) > MAX_HEADERS:
        return refuse(431, f"There are more than {MAX_HEADERS} headers: send fewer.")
    return None


def is_preflight(head: bytes) -> bool:
    """Say whether a request is what a browser sends before it polls another origin."""
    return head.startswith((b"OPTIONS /v1/poll ", b"OPTIONS /v1/poll?"))


def busy(readiness: Readiness) -> Answer | None:
    """Return the refusal of a new connection or poll; None where it may come in."""
    if readiness.draining:
        return refuse(503, "This gateway is going away: connect again.", ("Retry-After", "1"))
    if readiness.full:
        return refuse(429, "This gateway has as many connections as it may: try again later.", ("Retry-After", "5"))
    return None


def answer(path: str, readiness: Readiness) -> Answer | None:
    """Return the HTTP answer to a GET of `path`, or None where the request may become a WebSocket."""
    try:
        parts = urlsplit(path)
    except ValueError:
        return refuse(400, "The URL cannot be read.")
    if parts.path == WEBSOCKET_PATH:
        return _check_upgrade(parts.query, readiness)
    if parts.path == "/healthz":
        return _json(200, {"status": "ok"})
    if parts.path == "/readyz":
        return _readyz(readiness)
    return refuse(404, f"There is nothing at this path: WebSockets are at {WEBSOCKET_PATH}.")


def _check_upgrade(query: str, readiness: Readiness) -> Answer | None:
    if any("token" in name.lower() or name.lower() == "jwt" for name, _ in parse_qsl(query, True)):
        return refuse(400, "Send the token in the first frame, never in the URL, where logs would keep it.")
    return busy(readiness)


def _readyz(readiness: Readiness) -> Answer:
    if readiness.draining:
        return _json(503, {"status": "draining"})
    if not readiness.upstream:
        return _json(503, {"status": "no publisher"})
    return _json(200, {"status": "ready"})


def _json(status: int, value: dict[str, str]) -> Answer:
    return Answer(status, json.dumps(value).encode() + b"\n", "application/json")
