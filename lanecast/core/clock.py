"""How far another process's clock is from this one's, and how wrong that may be.

Owns the judgement of exchanges of four stamps: sent here, received there, sent there, received here. Used on both sides
of the streams between services; shells bring the stamps. Pure.

No message arrives before it was sent: so each exchange says between which two values the difference of the clocks lies.
Of the exchanges of the last ten minutes those with the shortest round trips count, the lowest quartile; each is widened
by what two clocks may have drifted since, and the truth lies in what they have in common. That is never more than half
the shortest round trip, plus 50 ppm of its age, plus the grain of the stamps.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

DRIFT = 50e-6
"""How far two ordinary clocks drift apart, in seconds a second."""
RESOLUTION_NS = 1_000
"""Grain of the stamps: some systems count microseconds."""
MAX_EXCHANGES = 64
MAX_AGE_NS = 600_000_000_000
BURST = 8
"""Exchanges at the beginning, one soon after the other."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of the other clock."""

    shift_ns: int
    """Add this to a stamp of ours to have it on the other clock."""
    bound_ns: int
    """The true value is at most this far away."""


SAME = Reading(0, 0)
"""There is only one clock."""
UNKNOWN = Reading(0, 1 << 62)
"""Nothing is known: no comparison says anything."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    low_ns: int
    high_ns: int
    at_ns: int

    @property
    def width_ns(self) -> int:
        return self.high_ns - self.low_ns


class ClockFilter:
    """The exchanges with one other process."""

    def __init__(self) -> None:
        self._exchanges: deque[_Exchange] = deque(maxlen=MAX_EXCHANGES)
        self._one_host = False

    def share(self, ours: str, theirs: str) -> None:
        """Take note of the names of the two machines: where they are the same, so is the clock, until shown otherwise.

        Args:
            ours: Name of this machine, see `lanecast.runtime.hostclock`; empty: unknown.
            theirs: Name of the other.
        """
        self._one_host = bool(ours) and ours == theirs

    def add(self, sent_ns: int, received_there_ns: int, sent_there_ns: int, received_ns: int, at_ns: int) -> None:
        """Take in an exchange.

        Args:
            sent_ns: When the question left, by our clock.
            received_there_ns: When it came, by the other clock.
            sent_there_ns: When the answer left, by the other clock.
            received_ns: When it came, by our clock.
            at_ns: The same moment by the monotonic clock, which nobody sets.
        """
        low, high = sent_there_ns - received_ns, received_there_ns - sent_ns
        if high < low:
            return  # one of the clocks was set while the exchange was under way
        during = round((received_ns - sent_ns) * DRIFT)
        new = _Exchange(low - during, high + during, at_ns)
        if any(not _overlap(new, old, at_ns) for old in self._exchanges):
            self._exchanges.clear()  # one was set since: what was known is of no use
        self._exchanges.append(new)
        while at_ns - self._exchanges[0].at_ns > MAX_AGE_NS:
            self._exchanges.popleft()

    def reset(self) -> None:
        """Forget all exchanges: our clock was set."""
        self._exchanges.clear()

    def read(self, at_ns: int) -> Reading:
        """Return what is known at a moment of the monotonic clock."""
        if not self._exchanges:
            return SAME if self._one_host else UNKNOWN
        low, high = self._common(at_ns)
        if self._one_host and low <= 0 <= high:
            return SAME
        return Reading((low + high) // 2, (high - low + 1) // 2 + RESOLUTION_NS)

    def _common(self, at_ns: int) -> tuple[int, int]:
        best = sorted(self._exchanges, key=lambda each: each.width_ns)[: (len(self._exchanges) + 3) // 4]
        low = max(each.low_ns - _drift_ns(each, at_ns) for each in best)
        high = min(each.high_ns + _drift_ns(each, at_ns) for each in best)
        # Each overlapped the others when it came, and has been widened since; rounding may be left.
        return (low, high) if low <= high else (high, low)


def _drift_ns(exchange: _Exchange, at_ns: int) -> int:
    return round(abs(at_ns - exchange.at_ns) * DRIFT)


def _overlap(new: _Exchange, old: _Exchange, at_ns: int) -> bool:
    spare = _drift_ns(old, at_ns) + RESOLUTION_NS
    return old.low_ns - spare <= new.high_ns and new.low_ns <= old.high_ns + spare
