"""The bytes in which the history keeps slots, and the JSON of alerts.

Owns both forms, version 1. A slot is one record: for each series its number, the kind of value and the value. Used by
`history`; knows nothing of files.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from lanecast.core.instruments import Key
from lanecast.core.priority import Priority
from metrics_svc.core.alerts import Alert, Severity, State
from metrics_svc.core.packed import PackedSketch
from metrics_svc.core.series import Series, Value
from metrics_svc.core.windows import Slot

_INTEGER, _NUMBER, _NARROW, _WIDE = range(4)
"""A whole number, a fraction, a histogram with counts of 4 bytes and one with counts of 8."""
_HEAD = struct.Struct("<IBH")
_HISTOGRAM = struct.Struct("<QQQQ")
_NO_MINIMUM = (1 << 64) - 1
_LIMIT = 1 << 63
_LEVEL = 1
"""The fastest compression halves a slot and more."""

if array("I").itemsize != 4 or sys.byteorder != "little":  # pragma: no cover - no platform of ours
    raise ImportError("the history is written in the byte order of x86 and ARM: this machine has another")


class UnreadableError(Exception):
    """A record is not what we have written."""


def encode_slot(slot: Slot, number: Callable[[Series], int]) -> bytes:
    """Return the record of a slot; `number` gives the number of a series."""
    parts: list[bytes] = []
    for series, value in slot.items():
        kind, length, data = _encode(value)
        parts.append(_HEAD.pack(number(series), kind, length) + data)
    return zlib.compress(b"".join(parts), _LEVEL)


def decode_slot(record: bytes) -> Iterator[tuple[int, Value]]:
    """Yield the numbers of series and their values.

    Raises:
        UnreadableError: the record is damaged.
    """
    try:
        yield from _decode(zlib.decompress(record))
    except (zlib.error, struct.error, ValueError) as error:
        raise UnreadableError(f"a record of the history is damaged: {error}") from error


def encode_key(key: Key) -> str:
    """Return the attributes of a series as JSON."""
    return json.dumps(dict(key.attributes), sort_keys=True)


def decode_key(name: str, attributes: str) -> Key:
    """Return the key of a series.

    Raises:
        UnreadableError: the attributes are not what we have written.
    """
    try:
        return Key(name, tuple(sorted((str(key), str(value)) for key, value in json.loads(attributes).items())))
    except (ValueError, AttributeError) as error:
        raise UnreadableError(f"a series of the history is damaged: {error}") from error


def encode_alert(alert: Alert) -> str:
    """Return an alert as JSON."""
    return json.dumps(asdict(alert), sort_keys=True)


def decode_alert(text: str) -> Alert:
    """Return an alert.

    Raises:
        UnreadableError: the text is not what we have written.
    """
    try:
        fields: dict[str, Any] = json.loads(text)
        fields["severity"], fields["state"] = Severity(fields["severity"]), State(fields["state"])
        fields["lane"] = None if fields["lane"] is None else Priority(fields["lane"])
        fields["notified"] = None if fields["notified"] is None else State(fields["notified"])
        return Alert(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableError(f"an alert of the history is damaged: {error}") from error


def _encode(value: Value) -> tuple[int, int, bytes]:
    if isinstance(value, int) and -_LIMIT <= value < _LIMIT:
        return _INTEGER, 0, struct.pack("<q", value)
    if not isinstance(value, PackedSketch):
        return _NUMBER, 0, struct.pack("<d", value)
    kind = _NARROW if value.counts.typecode == "I" else _WIDE
    minimum = _NO_MINIMUM if value.minimum_ns is None else value.minimum_ns
    head = _HISTOGRAM.pack(value.sum_ns, minimum, value.maximum_ns, value.skewed)
    return kind, len(value.indexes), head + value.indexes.tobytes() + value.counts.tobytes()


def _decode(data: bytes) -> Iterator[tuple[int, Value]]:
    position = 0
    while position < len(data):
        number, kind, length = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        if kind in {_INTEGER, _NUMBER}:
            yield number, struct.unpack_from("<q" if kind == _INTEGER else "<d", data, position)[0]
            position += 8
        else:
            value, position = _decode_histogram(data, position, kind, length)
            yield number, value


def _decode_histogram(data: bytes, position: int, kind: int, length: int) -> tuple[PackedSketch, int]:
    sum_ns, minimum, maximum_ns, skewed = _HISTOGRAM.unpack_from(data, position)
    indexes, counts = array("H"), array("I" if kind == _NARROW else "Q")
    first = position + _HISTOGRAM.size
    middle = first + length * indexes.itemsize
    end = middle + length * counts.itemsize
    if kind > _WIDE or end > len(data):
        raise ValueError("a histogram is cut off")
    indexes.frombytes(data[first:middle])
    counts.frombytes(data[middle:end])
    lowest = None if minimum == _NO_MINIMUM else minimum
    return PackedSketch(indexes, counts, sum(counts), sum_ns, lowest, maximum_ns, skewed), end
