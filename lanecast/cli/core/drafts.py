"""Events as `lanecast publish` reads them: one JSON object each.

Owns the names of the keys and the wording of what is wrong with them. The payload itself is checked by `payloads`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lanecast.cli.core.durations import parse_duration
from lanecast.cli.core.problems import InputError
from lanecast.core.channel import check_channel
from lanecast.core.priority import LANES, Priority

KEYS = ("channel", "type", "priority", "id", "data", "ttl", "conflation_key")
_SYNONYMS = {"conflationKey": "conflation_key"}


@dataclass(frozen=True, slots=True)
class Draft:
    """An event to be published, its payload still JSON."""

    channel: str
    type: str
    priority: Priority
    data: Any
    id: str | None = None
    ttl_seconds: float | None = None
    conflation_key: str = ""


def parse_draft(text: bytes | str) -> Draft:
    """Return the event that a JSON object stands for.

    Raises:
        InputError: it is no JSON, or a key is missing, unknown or has a value of the wrong kind; says what to do.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"an event is a JSON object with the keys {', '.join(KEYS)}")
    return to_draft({_SYNONYMS.get(str(key), str(key)): item for key, item in value.items()})


def to_draft(value: Mapping[str, Any]) -> Draft:
    """Check the keys of one event; see `parse_draft`."""
    for key in value:
        if key not in KEYS:
            raise InputError(f"unknown key {key!r}: use {', '.join(KEYS)}")
    channel = _text(value, "channel", required=True)
    problem = check_channel(channel)
    if problem:
        raise InputError(problem)
    if "data" not in value:
        raise InputError('data is missing: give the fields of the payload, for example {"text": "…"}')
    return Draft(
        channel,
        _text(value, "type", required=True),
        _priority(value),
        value["data"],
        _text(value, "id") or None,
        _ttl(value.get("ttl")),
        _text(value, "conflation_key"),
    )


def _text(value: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    item = value.get(key)
    if item is None and not required:
        return ""
    if item is None:
        raise InputError(f"{key} is missing: an event needs channel, type, priority and data")
    if not isinstance(item, str):
        raise InputError(f"{key} must be a string")
    try:
        item.encode()
    except UnicodeEncodeError:
        raise InputError(f"{key} has half of a surrogate pair: write it as valid Unicode") from None
    return item


def _priority(value: Mapping[str, Any]) -> Priority:
    text = _text(value, "priority")
    if not text:
        raise InputError(f"priority is missing: use one of {', '.join(lane.name for lane in LANES)}")
    try:
        return Priority.parse(text)
    except ValueError as error:
        raise InputError(str(error)) from None


def _ttl(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        seconds = _parse_duration(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise InputError("ttl must be seconds, or a duration such as 30s")
    if not 0 < seconds < float("inf"):
        raise InputError("ttl must be above 0")
    return seconds


def _parse_duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InputError(f"ttl: {error}") from None
