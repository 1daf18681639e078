"""Keeps up with the clock of the publisher that a link is connected to.

Owns when it is asked for, and what the meter is told. Run by `link` beside its streams; `lanecast.core.clock` judges.
On one host nothing is told but that there is one clock, and no event pays for any of this.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from lanecast.core.clock import BURST, SAME, ClockFilter, Reading
from lanecast.runtime.hostclock import host_name
from lanecast.v1.publisher_pb2 import ClockAnswer

_BURST_SECONDS = 0.05
_TELL_SECONDS = 1.0
_ASK_SECONDS = (10.0, 30.0)
_STEP_NS = 1_000_000
"""The wall clock was set where it and the monotonic clock have come apart so far within a second."""


class ClockWatch:
    """See the module. Use: `opened`, then `run`; `answered` with what comes."""

    def __init__(self, ask: Callable[[], None], tell: Callable[[Reading | None], None]) -> None:
        """Take what is called.

        Args:
            ask: Sends a probe soon.
            tell: Told what is known of the publisher's clock; None: it is ours.
        """
        self._ask = ask
        self._tell = tell
        self._filter = ClockFilter()
        self._is_asked = False

    def opened(self, host: str) -> None:
        """Begin with a publisher that runs on the machine of this name; empty: it is one that takes no probes yet."""
        self._is_asked = bool(host)
        self._filter.share(host_name(), host)
        self._publish()

    def answered(self, answer: ClockAnswer, received_ns: int) -> None:
        """Take in an answer that came at `received_ns`."""
        self._filter.add(
            answer.probe_time_unix_nano,
            answer.receive_time_unix_nano,
            answer.send_time_unix_nano,
            received_ns,
            time.monotonic_ns(),
        )
        self._publish()

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        if not self._is_asked:
            await asyncio.Event().wait()
        while True:
            apart = _apart_ns()
            for _ in range(BURST):
                self._ask()
                await asyncio.sleep(_BURST_SECONDS)
            await self._ask_until_set(apart)
            self._filter.reset()
            self._publish()

    async def _ask_until_set(self, apart: int) -> None:
        """Ask now and then; returns when this machine's clock was set.

        Args:
            apart: Wall clock minus monotonic clock, from before the burst.
        """
        next_ask = 0.0
        while True:
            now = time.monotonic()
            if now >= next_ask:
                if next_ask:
                    self._ask()
                next_ask = now + random.uniform(*_ASK_SECONDS)  # noqa: S311 - spreads the gateways, no secret
            await asyncio.sleep(_TELL_SECONDS)
            before, apart = apart, _apart_ns()
            if abs(apart - before) > _STEP_NS:
                return
            self._publish()

    def _publish(self) -> None:
        reading = self._filter.read(time.monotonic_ns())
        self._tell(None if reading == SAME else reading)


def _apart_ns() -> int:
    """Return the difference of the two clocks. The tightest of several readings: a process may be interrupted."""
    readings = []
    for _ in range(4):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, wall - before))
    return min(readings)[1]
