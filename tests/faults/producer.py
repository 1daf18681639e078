"""AI services of the harness: the real SDK, with a note of each acknowledgement.

Owns what is published when, by a seed, and which events were acknowledged. Called by `stack`. The id of an event is
its mark in hexadecimal; its payload follows from the id, so that a receiver can tell a damaged one.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from zlib import crc32

from faults.checker import Ack, Key
from lanecast import Ack as SdkAck
from lanecast import AsyncPublisher, Priority
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.errors import BufferFullError, LanecastError, PublishError
from lanecast.publisher.settings import PublisherSettings

_TICK_SECONDS = 0.005
_SEQUENCE_BITS = 40
LANE_SHARES = ((Priority.CRITICAL, 10), (Priority.HIGH, 20), (Priority.NORMAL, 40), (Priority.LOW, 30))
"""Lanes and how many events in a hundred each gets."""


def mark_of(producer: int, sequence: int) -> int:
    """Return the number that stands for an event."""
    return producer << _SEQUENCE_BITS | sequence


def event_id(mark: int) -> str:
    """Return the id of an event."""
    return f"{mark:016x}"


def stored_mark(identity: str) -> int:
    """Return the mark of an id that was stored; of one that came out wrong, a number that nobody published."""
    try:
        return int(identity, 16)
    except ValueError:
        return 1 << 63 | crc32(identity.encode())


def filler(size: int) -> str:
    """Return what stands before the id in the text of each event."""
    return "x" * max(0, size - 24)


class Producer:
    """One publishing service."""

    def __init__(
        self, number: int, targets: str | Sequence[str], channels: Sequence[str], rate: float, size: int, random: Random
    ) -> None:
        self.name = f"producer-{number}"
        self._number = number
        self._channels = channels
        self.rate = rate
        self._filler = filler(size)
        self._random = random
        settings = PublisherSettings(max_events=50_000, max_bytes=64 * 1024 * 1024)
        self._sdk = AsyncPublisher(targets, source=self.name, settings=settings)
        self._sequence = 0
        self._order: Counter[Key] = Counter()
        self.acks: list[Ack] = []
        self.failures: Counter[str] = Counter()
        self.latest_ack_of = 0.0
        """When the newest of the acknowledged events was handed over, by the monotonic clock."""
        self.handed_over = 0
        self.paused = False
        self._lanes = [lane for lane, _ in LANE_SHARES]
        self._weights = [share for _, share in LANE_SHARES]

    async def open(self) -> None:
        """Connect."""
        await self._sdk.connect()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until told to stop; what a stall made late is not made up for."""
        due = time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            if self.paused or now - due > 0.25:
                due = now
            while due <= now and not self.paused:
                self.publish()
                due += self._random.expovariate(self.rate)
            await asyncio.sleep(_TICK_SECONDS)

    def publish(self, channel: str = "", lane: Priority | None = None) -> asyncio.Future[SdkAck] | None:
        """Hand one event over; None where the SDK's buffer is full."""
        channel = channel or self._random.choice(self._channels)
        lane = lane or self._random.choices(self._lanes, self._weights)[0]
        mark = mark_of(self._number, self._sequence)
        key = (channel, int(lane))
        message = ConciergeInsight(text=self._filler + event_id(mark))
        try:
            future = self._sdk.publish_nowait(channel, message, priority=lane, id=event_id(mark))
        except BufferFullError:
            self.failures["BUFFER_FULL"] += 1
            return None
        self._sequence += 1
        self._order[key] += 1
        self.handed_over += 1
        order, handed_at = self._order[key], time.monotonic()
        future.add_done_callback(lambda done: self._on_done(done, key, mark, order, handed_at))
        return future

    def _on_done(self, done: asyncio.Future[SdkAck], key: Key, mark: int, order: int, handed_at: float) -> None:
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or error is not None:
            self.failures[error.reason if isinstance(error, PublishError) else type(error).__name__] += 1
            return
        self.acks.append(Ack(key, mark, done.result().offset, order, self.name))
        self.latest_ack_of = max(self.latest_ack_of, handed_at)

    async def close(self, seconds: float) -> None:
        """Wait for what is unanswered, so many seconds at most, and disconnect."""
        try:
            await self._sdk.close(seconds)
        except LanecastError as error:
            self.failures[f"close: {type(error).__name__}"] += 1
