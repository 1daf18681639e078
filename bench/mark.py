"""The mark that each event carries in its payload, and how it is found again.

Owns its layout. A payload begins with `MARKER` and 32 characters of Base64 that hold when the event was *scheduled*,
how much later it was really sent, and which event it is. A receiver splits what it has read at the marker and decodes
the marks of thousands of events with one call each; it never parses the payload. The mark is plain ASCII that no JSON
encoder escapes, so that servers which only carry text can carry it.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from struct import Struct

import numpy as np
from numpy.typing import NDArray

MARKER = b"~lanecast-mark:~"
ENCODED_BYTES = 32
"""Length of the Base64 text after the marker."""
MARK_BYTES = len(MARKER) + ENCODED_BYTES
"""Smallest payload that can carry a mark."""

_LAYOUT = Struct("<QIIIBBH")
DTYPE = np.dtype([
    ("scheduled", "<u8"),
    ("channel", "<u4"),
    ("sequence", "<u4"),
    ("late", "<u4"),
    ("lane", "u1"),
    ("load", "u1"),
    ("unused", "<u2"),
])  # fmt: skip
"""A decoded mark: `scheduled` in nanoseconds since the Unix epoch, `late` in microseconds."""
_MAX_LATE = 2**32 - 1


def encode(scheduled_ns: int, sent_ns: int, channel: int, sequence: int, lane: int, load: int) -> bytes:
    """Return the marker and the mark of one event."""
    late = (sent_ns - scheduled_ns) // 1000
    if not 0 <= late <= _MAX_LATE:
        late = 0 if late < 0 else _MAX_LATE
    return MARKER + b2a_base64(_LAYOUT.pack(scheduled_ns, channel, sequence, late, lane, load, 0), newline=False)


def find(data: bytes) -> list[bytes]:
    """Return the encoded marks in `data`, in order; `data` must not end inside a mark."""
    parts = data.split(MARKER)
    return [part[:ENCODED_BYTES] for part in parts[1:]]


def decode(encoded: list[bytes]) -> NDArray[np.void]:
    """Decode many marks at once into an array of `DTYPE`."""
    return np.frombuffer(a2b_base64(b"".join(encoded)), dtype=DTYPE)


class Filler:
    """Cuts payloads of any length from one text, so that making a payload costs one slice and one concatenation."""

    def __init__(self, largest: int) -> None:
        words = b"the customer asked about the price of the house near the park and whether it could be seen on Monday "
        self._text = words * (largest // len(words) + 1)

    def payload(self, mark: bytes, size: int) -> bytes:
        """Return `mark` followed by text, `size` bytes in all, or `mark` alone where that is longer."""
        return mark + self._text[: size - MARK_BYTES] if size > MARK_BYTES else mark
