"""Cuts a stream of bytes into lines with a bounded memory.

Owns the limit on a line. Called by the shells that read from child processes and from standard input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end."""

    number: int
    """Counted from 1."""
    text: bytes
    truncated: bool = False
    """True where the line was longer than the limit; `text` is its beginning."""


class LineSplitter:
    """Collects chunks and hands out whole lines. What a line has beyond `limit` bytes is thrown away."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._overflow = False
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that `chunk` completes."""
        *whole, last = chunk.split(b"\n")
        for part in whole:
            self._append(part)
            yield self._take()
        self._append(last)

    def end(self) -> Iterator[Line]:
        """Yield what is left where the stream did not end with a line end."""
        if self._rest or self._overflow:
            yield self._take()

    def _append(self, part: bytes) -> None:
        room = self._limit - len(self._rest)
        self._overflow = self._overflow or len(part) > room
        self._rest += part[: max(0, room)]

    def _take(self) -> Line:
        self._number += 1
        line = Line(self._number, bytes(self._rest.removesuffix(b"\r")), self._overflow)
        self._rest.clear()
        self._overflow = False
        return line
