"""One long poll: what a client gets over plain HTTP where WebSockets do not come through.

Owns the request's parts, the cursor token, what is collected and when that is an answer. A poll is a session that
speaks JSON, subscribes from the positions of its token, and ends with the first events: so positions, replay, gaps and
grants are those of a WebSocket, and a client may change from one to the other without losing or repeating an event.
Pure; the shell is `gateway_svc.poll`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateway_svc.core.frames import compact
from gateway_svc.core.handshake import Answer, refuse
from lanecast.core import codes

PATH = "/v1/poll"
MAX_WAIT_SECONDS = 25.0
"""Proxies between browser and gateway commonly cut an answer that takes 30 s or more."""
MAX_CHANNELS = 32
ANSWER_BYTES = 256 * 1024
"""From here on an answer is complete, however much there is; the next one goes on where it ended."""
MAX_CURSOR_BYTES = 3 * 1024

_CRITICAL = "CRITICAL"
_STARTS = ("LATEST", "EARLIEST", "LAST_N")
_MAX_LAST_DIGITS = 6
"""Enough for any number that the session allows, which answers for one that it does not."""
_LANES = ("CRITICAL", "HIGH", "NORMAL", "LOW")
_STATUS_OF = {
    codes.UNAUTHENTICATED.number: 401,
    codes.TOKEN_EXPIRED.number: 401,
    codes.FORBIDDEN.number: 403,
    codes.REVOKED.number: 401,
}
_NEWS = ("events", "gap", "error")
_KEPT = (*_NEWS, "subscribed", "advance", "drain")

Cursor = dict[str, dict[str, tuple[str, int]]]
"""Channel → lane → epoch and offset."""


@dataclass(frozen=True, slots=True)
class PollRequest:
    """What a client asks for."""

    token: str
    channels: tuple[str, ...]
    lanes: tuple[str, ...]
    cursor: Cursor
    wait_seconds: float
    origin: str | None = None
    start: str = "LATEST"
    """Where channels begin of which the cursor says nothing."""
    last_n: int = 0

    def commands(self) -> list[bytes]:
        """Return what a WebSocket client would have sent."""
        made: list[dict[str, Any]] = [{"hello": {"token": self.token, "client": "poll"}}]
        start = {} if self.start == "LATEST" else {"start": f"START_{self.start}", "lastN": self.last_n}
        for channel in self.channels:
            positions = [
                {"lane": lane, "epoch": epoch, "offset": str(offset)}
                for lane, (epoch, offset) in self.cursor.get(channel, {}).items()
                if lane in self.lanes
            ]
            made.append({"subscribe": {"channel": channel, "lanes": list(self.lanes), "positions": positions, **start}})
        return [compact(each) for each in made]


def is_poll(target: str) -> bool:
    """Say whether a request target is that of a poll."""
    return target.partition("?")[0] == PATH


def parse(target: str, headers: Mapping[str, str], origins: list[str]) -> PollRequest | Answer:
    """Read a request; return the refusal where it is none."""
    origin = headers.get("Origin")
    if origin is not None and origin not in origins:
        return refuse(403, "This origin is not allowed: have the operator add it to the gateway's allowed_origins.")
    query = parse_qs(urlsplit(target).query, keep_blank_values=True)
    token = _token(query, headers.get("Authorization", ""))
    made = _parse(query, token, origin) if isinstance(token, str) else token
    return _with_cors(refuse(made[0], made[1]), origin) if isinstance(made, tuple) else made


def _token(query: dict[str, list[str]], authorization: str) -> str | tuple[int, str]:
    if any("token" in name.lower() or name.lower() == "jwt" for name in query):
        return 400, "Send the token in the Authorization header, never in the URL, where logs would keep it."
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return 401, "Send the token as `Authorization: Bearer …`."
    return token.strip()


def _parse(query: dict[str, list[str]], token: str, origin: str | None) -> PollRequest | tuple[int, str]:
    channels = tuple(dict.fromkeys(query.get("channel", [])))
    if not 1 <= len(channels) <= MAX_CHANNELS:
        return 400, f"Name 1 to {MAX_CHANNELS} channels, each as channel=NAME."
    lanes = tuple(lane for value in query.get("lanes", [_CRITICAL]) for lane in value.upper().split(","))
    if not set(lanes) <= set(_LANES):
        return 400, "The lanes are CRITICAL, HIGH, NORMAL and LOW, with commas."
    wait = _seconds(query.get("wait", [str(MAX_WAIT_SECONDS)])[-1])
    if wait is None:
        return 400, f"wait must be 0 to {MAX_WAIT_SECONDS:g} seconds."
    cursor = decode_cursor(query.get("after", [""])[-1])
    if cursor is None:
        return 400, "after must be the `next` of an earlier answer, or left out to begin with what comes."
    start, last = query.get("start", ["LATEST"])[-1].upper(), query.get("last", ["0"])[-1]
    if start not in _STARTS or not (last.isascii() and last.isdigit() and len(last) <= _MAX_LAST_DIGITS):
        return 400, "start must be LATEST, EARLIEST, or LAST_N with last=NUMBER."
    return PollRequest(token, channels, lanes, cursor, wait, origin, start, int(last))


def preflight(head: bytes, origins: list[str]) -> Answer:
    """Answer the OPTIONS request that a browser sends before it polls another origin."""
    origin = None
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "origin":
            origin = value.strip()
    if origin is None or origin not in origins:
        return refuse(403, "This origin is not allowed: have the operator add it to the gateway's allowed_origins.")
    allow = (
        ("Access-Control-Allow-Methods", "GET"),
        ("Access-Control-Allow-Headers", "Authorization"),
        ("Access-Control-Max-Age", "600"),
    )
    return _with_cors(Answer(204, b"", extra=allow), origin)


def encode_cursor(cursor: Cursor) -> str:
    """Return a cursor as the token that goes into `after`."""
    value = {
        channel: [[lane, epoch, str(offset)] for lane, (epoch, offset) in lanes.items()]
        for channel, lanes in cursor.items()
    }
    return base64.urlsafe_b64encode(compact(value)).decode().rstrip("=")


def decode_cursor(text: str) -> Cursor | None:
    """Return the cursor of a token, empty for none; None where it is not one."""
    if not text:
        return {}
    if len(text) > MAX_CURSOR_BYTES:
        return None
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return {
            str(channel): {_lane(lane): (str(epoch), _offset(offset)) for lane, epoch, offset in lanes}
            for channel, lanes in value.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error):
        return None


@dataclass(slots=True)
class Collector:
    """Gathers the frames of one poll; takes the place of the socket in its session."""

    request: PollRequest
    size: int = 0
    has_news: bool = False
    """True once there is something to tell."""
    closed: int = 0
    """The close code, once the session has ended."""
    unanswered: int = field(init=False)
    """Channels of which it is not known yet where they stand: an answer before that would have no cursor for them."""
    _payloads: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.unanswered = len(self.request.channels)

    @property
    def full(self) -> bool:
        """True once the answer is as large as it may get."""
        return self.size >= ANSWER_BYTES

    def write(self, data: bytes) -> bool:
        """Take one WebSocket frame; see `Sink.write`."""
        frame: dict[str, Any] = json.loads(_payload(data))
        if any(kind in frame for kind in _KEPT):
            self._payloads.append(frame)
            self.size += len(data)
            self.has_news = self.has_news or any(kind in frame for kind in _NEWS)
            self.unanswered -= "subscribed" in frame or "error" in frame
        return not self.full

    def close(self, number: int, reason: str) -> None:  # noqa: ARG002 - the interface of a sink
        """See `Sink.close`."""
        self.closed = number

    def answer(self) -> Answer:
        """Return the answer as it stands."""
        status = _STATUS_OF.get(self.closed, 400) if self.closed >= 3500 or self.closed in _STATUS_OF else 200
        body = compact({"frames": self._payloads, "next": encode_cursor(self._cursor())})
        answer = Answer(status, body + b"\n", "application/json")
        return _with_cors(answer, self.request.origin)

    def _cursor(self) -> Cursor:
        cursor = {channel: dict(lanes) for channel, lanes in self.request.cursor.items()}
        for frame in self._payloads:
            for channel, lane, epoch, offset in _moves(frame):
                if lane in self.request.lanes:
                    cursor.setdefault(channel, {})[lane] = (epoch, offset)
        return {channel: lanes for channel, lanes in cursor.items() if channel in self.request.channels}


def _moves(frame: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """Return where a frame leaves lanes: channel, lane, epoch, offset."""
    if "subscribed" in frame:
        answer = frame["subscribed"]
        if answer["wasRecovering"]:  # it begins where it was asked to; a gap moves it, if that cannot be honoured
            return []
        return [(answer["channel"], _short(p["lane"]), p["epoch"], int(p["offset"])) for p in answer["positions"]]
    if "events" in frame:
        batch = frame["events"]
        return [(batch["channel"], _short(batch["lane"]), batch["epoch"], int(batch["events"][-1]["offset"]))]
    for kind, name in (("gap", "toOffset"), ("advance", "throughOffset")):
        if kind in frame:
            item = frame[kind]
            return [(item["channel"], _short(item["lane"]), item["epoch"], int(item[name]))]
    return []


def _payload(data: bytes) -> bytes:
    """Return the payload of an unmasked WebSocket frame (RFC 6455, section 5.2)."""
    length = data[1] & 0x7F
    return data[{126: 4, 127: 10}.get(length, 2) :]


def _short(lane: str) -> str:
    return lane.removeprefix("PRIORITY_")


def _lane(lane: Any) -> str:
    if lane not in _LANES:
        raise ValueError(lane)
    return str(lane)


def _offset(value: Any) -> int:
    offset = int(value)
    if not 0 <= offset < 1 << 64:
        raise ValueError(value)
    return offset


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= MAX_WAIT_SECONDS else None


def _with_cors(answer: Answer, origin: str | None) -> Answer:
    if origin is None:
        return answer
    cors = (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))
    return Answer(answer.status, answer.body, answer.content_type, (*answer.extra, *cors))
