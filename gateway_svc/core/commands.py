"""Frames from clients, parsed.

Owns the two forms a `ClientFrame` may come in. JSON also accepts the short names of lanes and starts (`CRITICAL`,
`LATEST`). Called by the session; anything that is not a command raises `CommandError` and nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from lanecast.v1.gateway_pb2 import ClientFrame

_MAX_DEPTH = 16


class CommandError(Exception):
    """A frame from a client that is no command; the text says why."""


def parse(data: bytes, *, binary: bool) -> ClientFrame:
    """Return the command in a message of the negotiated subprotocol.

    Raises:
        CommandError: it is none.
    """
    frame = _from_protobuf(data) if binary else _from_json(data)
    if frame.WhichOneof("frame") is None:
        raise CommandError(
            "the frame has no command: send hello, subscribe, unsubscribe, pong, receipt or refreshToken"
        )
    return frame


def _from_protobuf(data: bytes) -> ClientFrame:
    try:
        return ClientFrame.FromString(data)
    except DecodeError:
        raise CommandError("the frame is not a serialised lanecast.v1.ClientFrame") from None


def _from_json(data: bytes) -> ClientFrame:
    try:
        fields = json.loads(data)
        if b"\\ud" in data or b"\\uD" in data:
            # Half a surrogate pair cannot be encoded: the protobuf library fails where it stands in a name.
            json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise CommandError("the frame is not JSON") from None
    if not isinstance(fields, dict):
        raise CommandError('the frame is not a JSON object: send for example {"subscribe": {"channel": "agent:42"}}')
    _lengthen(fields.get("subscribe"))
    for sample in _items(fields.get("receipt"), "samples"):
        _lengthen_field(sample, "lane", "PRIORITY_")
    try:
        return ParseDict(fields, ClientFrame(), ignore_unknown_fields=True, max_recursion_depth=_MAX_DEPTH)
    except (ParseError, RecursionError) as error:
        raise CommandError(f"the frame is not a command: {error}"[:200]) from None


def _lengthen(subscribe: Any) -> None:
    if not isinstance(subscribe, dict):
        return
    _lengthen_field(subscribe, "start", "START_")
    lanes = subscribe.get("lanes")
    if isinstance(lanes, list):
        subscribe["lanes"] = [_long(lane, "PRIORITY_") for lane in lanes]
    for position in _items(subscribe, "positions"):
        _lengthen_field(position, "lane", "PRIORITY_")


def _items(parent: Any, name: str) -> list[Any]:
    items = parent.get(name) if isinstance(parent, dict) else None
    return items if isinstance(items, list) else []


def _lengthen_field(parent: Any, name: str, prefix: str) -> None:
    if isinstance(parent, dict) and name in parent:
        parent[name] = _long(parent[name], prefix)


def _long(value: Any, prefix: str) -> Any:
    if not isinstance(value, str):
        return value
    name = value.upper()
    return name if name.startswith(prefix) else prefix + name
