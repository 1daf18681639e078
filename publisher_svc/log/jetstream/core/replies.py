"""What the server says: acknowledgements of stored messages, refusals, places of delivered messages.

Owns the reading of the server's JSON and reply subjects, and which refusal means what. Pure.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from publisher_svc.log.base import LogError, LogFullError

_FULL_CODES = {10002, 10023, 10028, 10047, 10077, 10122}
"""Limits of the account, insufficient resources, memory or storage exceeded, store failed, stream limits."""
_FULL_WORDS = ("maximum messages exceeded", "maximum bytes exceeded", "no space left", "resource limits exceeded")
_AGAIN_CODES = {10008, 10009, 10118, 10119, 10158, 10194, 10195}
"""Temporarily unavailable, not the leader, stream or consumer offline, the same message is being stored."""
NO_RESPONDERS = "503"
_MIN_ACK_TOKENS = 9
_LONG_ACK_TOKENS = 11
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Stored:
    """The stream has the message."""

    sequence: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Again:
    """Nobody knows whether the stream has the message: send it again."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The stream does not have the message and will not take it now."""

    error: LogError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a delivered message stands."""

    sequence: int
    delivery: int
    """How many the consumer has delivered, this one included."""
    time_ns: int


def answer_of(data: bytes, stream: str) -> Stored | Again | Refused:
    """Return what an answer to a published message means."""
    try:
        answer = json.loads(data)
    except ValueError:
        return Again(f"the server answered {data[:80]!r}")
    if not isinstance(answer, dict):
        return Again(f"the server answered {data[:80]!r}")
    error = answer.get("error")
    if error:
        return refusal_of(error)
    sequence = answer.get("seq")
    if not isinstance(sequence, int) or sequence < 1:
        return Again(f"the server answered {data[:80]!r}")
    if answer.get("stream") != stream:
        taken = f"the subjects of the log belong to stream {answer.get('stream')!r}, not {stream!r}: remove that stream"
        return Refused(LogError(taken))
    return Stored(sequence, bool(answer.get("duplicate")))


def refusal_of(error: dict[str, Any]) -> Again | Refused:
    """Return what an error object of the JetStream API means for a message."""
    code, text = error.get("err_code", 0), str(error.get("description", ""))
    if code in _AGAIN_CODES:
        return Again(text)
    if code in _FULL_CODES or any(words in text for words in _FULL_WORDS):
        return Refused(LogFullError(f"the stream has no room ({text}): free disk space or raise its limits"))
    return Refused(LogError(f"the stream refuses the events: {text} (code {code})"))


def place_of(reply: str) -> Place:
    """Return what the reply subject of a delivered message tells.

    Raises:
        ValueError: it is none.
    """
    tokens = reply.split(".")
    if len(tokens) < _MIN_ACK_TOKENS or tokens[:2] != ["$JS", "ACK"]:
        raise ValueError(f"{reply!r} is not the reply subject of a consumer")
    # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>; newer servers put domain and
    # account before the stream and a token behind the end.
    start = 2 if len(tokens) < _LONG_ACK_TOKENS else 4
    _, _, _, sequence, delivery, time_ns = tokens[start : start + 6]
    return Place(int(sequence), int(delivery), int(time_ns))


def unix_nano(text: str) -> int:
    """Return an RFC 3339 time of the server, which has up to nine decimals, as nanoseconds since the Unix epoch.

    Raises:
        ValueError: it is none. The server's zero time, of the year 1, is 0.
    """
    if text.startswith("0001-"):
        return 0
    whole, _, rest = text.partition(".")
    if not rest:
        return int(datetime.fromisoformat(whole).timestamp()) * _SECOND_NS
    digits = rest.rstrip("Z") if rest.endswith("Z") else re.split(r"[+-]", rest)[0]
    zone = rest[len(digits) :] or "Z"
    seconds = int(datetime.fromisoformat(whole + zone).timestamp())
    return seconds * _SECOND_NS + int(digits.ljust(9, "0")[:9])


def rfc3339(unix_nanos: int) -> str:
    """Return a time as the server reads it."""
    seconds, nanos = divmod(unix_nanos, _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
