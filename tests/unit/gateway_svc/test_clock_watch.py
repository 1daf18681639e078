"""When the publisher's clock is asked for, and what is told of it."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway_svc import clock
from gateway_svc.clock import ClockWatch
from lanecast.core.clock import BURST, UNKNOWN, Reading
from lanecast.runtime.hostclock import host_name
from lanecast.v1.publisher_pb2 import ClockAnswer

MS = 1_000_000


class Watched:
    def __init__(self) -> None:
        self.asked: asyncio.Queue[None] = asyncio.Queue(100)
        self.told: list[Reading | None] = []
        self.watch = ClockWatch(lambda: self.asked.put_nowait(None), self.told.append)

    def answer(self, ahead_ns: int) -> None:
        """Answer a question of a millisecond ago at once."""
        now = time.time_ns()
        theirs = now - MS // 2 + ahead_ns
        answer = ClockAnswer(probe_time_unix_nano=now - MS, receive_time_unix_nano=theirs, send_time_unix_nano=theirs)
        self.watch.answered(answer, now)


def test_on_one_host_there_is_nothing_to_correct_until_it_turns_out_otherwise() -> None:
    watched = Watched()
    watched.watch.opened(host_name())
    watched.answer(0)
    assert watched.told == [None, None]
    watched.answer(200 * MS)
    reading = watched.told[-1]
    assert reading is not None
    assert abs(reading.shift_ns - 200 * MS) <= reading.bound_ns < MS


def test_another_host_is_unknown_until_it_has_answered() -> None:
    watched = Watched()
    watched.watch.opened("another")
    watched.answer(-3_000 * MS)
    unknown, reading = watched.told
    assert unknown == UNKNOWN
    assert reading is not None
    assert abs(reading.shift_ns + 3_000 * MS) <= reading.bound_ns < MS


async def test_it_is_asked_in_a_burst_and_again_when_the_own_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_BURST_SECONDS", 0.001)
    monkeypatch.setattr(clock, "_TELL_SECONDS", 0.001)
    watched = Watched()
    watched.watch.opened("another")
    running = asyncio.create_task(watched.watch.run())
    for _ in range(BURST):
        await watched.asked.get()
    watched.answer(0)
    assert watched.told[-1] != UNKNOWN
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 50 * MS)
    for _ in range(BURST):  # another burst, and what was known of the difference is forgotten
        await watched.asked.get()
    assert watched.told[-1] == UNKNOWN
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_publisher_that_takes_no_probes_is_not_asked() -> None:
    watched = Watched()
    watched.watch.opened("")
    running = asyncio.create_task(watched.watch.run())
    for _ in range(3):
        await asyncio.sleep(0)
    assert watched.asked.empty()
    assert watched.told == [UNKNOWN]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
