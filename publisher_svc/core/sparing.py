"""A failure that repeats itself a thousand times a second is told now and then, with how much it was.

Owns when the log is due its next line. Used by the ingest shell; pure.
"""

from __future__ import annotations

SECONDS = 10.0


class Sparing:
    """Adds up until it is time to tell."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._told_at = float("-inf")
        self._untold = 0

    def add(self, count: int, now: float) -> int:
        """Return how much came since the last line of log where the next is due, otherwise 0."""
        self._untold += count
        if now - self._told_at < self._seconds:
            return 0
        self._told_at = now
        told, self._untold = self._untold, 0
        return told
