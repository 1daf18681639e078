"""What a performance test sends, and when.

Owns the limits of a test, its schedule and its channels. A test is open-loop: when an event is due does not depend on
what became of those before it. The plan is a function of its numbers, so nothing has to be kept for an event but how
often it came back. Used by the gRPC and HTTP shells, which check requests, and by the process that runs a test. Pure.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate

from lanecast.core.channel import RESERVED_PREFIX
from lanecast.core.priority import LANES, Priority
from lanecast.errors import StatusError

INVALID_ARGUMENT = 3
"""The canonical gRPC code."""

MAX_RATE, MAX_SECONDS, MAX_SUBSCRIBERS = 50_000, 600.0, 1_000
MIN_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES = 16, 65_536
ENVELOPE_BYTES = 200
"""About what an event takes in the log beside its payload."""
MAX_TOTAL_BYTES = 256 * 1024 * 1024
"""Most bytes a test may put into the log: retention by size makes room for them at the cost of users' history."""
DEFAULT_MIX = {Priority.CRITICAL: 1.0, Priority.HIGH: 9.0, Priority.NORMAL: 60.0, Priority.LOW: 30.0}
CHANNELS = RESERVED_PREFIX + "perf:"
"""Beginning of the channels of all tests."""
_PATTERN_EVENTS = 10_000
"""Length of the sequence of lanes, which then repeats: shares are kept to within a ten-thousandth."""


@dataclass(frozen=True, slots=True)
class PerfPlan:
    """One performance test."""

    rate: int = 1_000
    """Events per second over all lanes."""
    seconds: float = 10.0
    subscribers: int = 10
    mix: tuple[tuple[Priority, float], ...] = tuple(DEFAULT_MIX.items())
    """Weight of each lane; lanes without one get nothing."""
    payload_bytes: int = 256

    def check(self) -> None:
        """Refuse what is out of bounds.

        Raises:
            StatusError: INVALID_ARGUMENT; names the field and its bounds.
        """
        _between("events_per_second", self.rate, 1, MAX_RATE)
        _between("duration", self.seconds, 1, MAX_SECONDS, " s")
        _between("subscribers", self.subscribers, 1, MAX_SUBSCRIBERS)
        _between("payload_bytes", self.payload_bytes, MIN_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES)
        _check_mix(self.mix)
        size = self.events * (self.payload_bytes + ENVELOPE_BYTES)
        if size > MAX_TOTAL_BYTES:
            raise _invalid(
                "PERF_TEST_TOO_LARGE",
                f"the test would put {size / 2**20:,.0f} MiB into the event log, at most {MAX_TOTAL_BYTES >> 20} are"
                " allowed: make it shorter, slower or its payload smaller",
                "duration",
            )

    @property
    def events(self) -> int:
        """Number of events in all."""
        return max(1, int(self.rate * self.seconds))

    def due_ns(self, number: int) -> int:
        """Return when an event is due, in nanoseconds from the start."""
        return number * 1_000_000_000 // self.rate

    def due_by(self, elapsed_ns: int) -> int:
        """Return how many events are due by a time from the start."""
        return 0 if elapsed_ns < 0 else min(self.events, elapsed_ns * self.rate // 1_000_000_000 + 1)

    def lanes(self) -> list[Priority]:
        """Return the lanes of the first events; event n is in the lane at n modulo the length."""
        total = sum(weight for _, weight in self.mix)
        bounds = [round(part / total * _PATTERN_EVENTS) for part in accumulate(weight for _, weight in self.mix)]
        sequence: list[Priority] = []
        for (lane, _), bound in zip(self.mix, bounds, strict=True):
            sequence += [lane] * (bound - len(sequence))
        random.Random(1).shuffle(sequence)  # noqa: S311 - the same order in each test
        return sequence


def channel_name(test: str, subscriber: int) -> str:
    """Return the channel of one subscriber of a test."""
    return f"{CHANNELS}{test}:{subscriber}"


def _check_mix(mix: tuple[tuple[Priority, float], ...]) -> None:
    lanes = [lane for lane, _ in mix]
    if len(set(lanes)) != len(lanes):
        raise _invalid("PERF_TEST_MIX_INVALID", "the mix names a lane twice: give each lane one weight", "mix")
    good = all(0 <= weight < 1e9 for _, weight in mix)
    if not good or not sum(weight for _, weight in mix) > 0 or not set(lanes) <= set(LANES):
        message = "the weights of the mix must be numbers from 0 to 1,000,000,000, and one must be above 0"
        raise _invalid("PERF_TEST_MIX_INVALID", message, "mix")


def _between(field: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        message = f"{field} is {value:,g}{unit}: use {low:,g} to {high:,g}{unit}"
        raise _invalid("PERF_TEST_OUT_OF_RANGE", message, field)


def _invalid(reason: str, message: str, field: str) -> StatusError:
    return StatusError(INVALID_ARGUMENT, reason, message, field=field)
