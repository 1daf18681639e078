"""Whatever waits in a window: every reader gets every event once, in order, and no reader is sent to the log."""

from __future__ import annotations

import asyncio
import time

import pytest
from gateway_fakes import EPOCH, FakeSink, World, stored, subscribe
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_svc.core.items import AdvanceItem
from gateway_svc.core.meter import Meter
from gateway_svc.core.types import TypeBook
from gateway_svc.core.window import FrameWindow
from gateway_svc.dispatch import Dispatcher
from lanecast.core.instruments import Instruments
from lanecast.core.priority import Priority

READERS = {"a": 60, "b": 10, "c": 1}
"""Unlike, so that a queue is still being written when another channel's batch is done; one alone is a case apart."""

MS = 1_000_000


class Model:
    def __init__(self) -> None:
        self.world = World()
        self.dispatcher = Dispatcher(self.world.hub, Meter(Instruments(), TypeBook(), self.world.totals), TypeBook())
        self.sinks: list[FakeSink] = []
        self.policies = ["default"]
        """Batches of unlike policies share no frame."""
        self.offset: dict[str, int] = dict.fromkeys(READERS, 0)
        for channel in self.offset:
            for _ in range(READERS[channel]):
                session, sink = self.world.session()
                subscribe(session, channel)
                self.sinks.append(sink)
            self.world.position(channel)
        for sink in self.sinks:
            sink.frames()

    def batches(self, channel: str, count: int) -> list[bytes]:
        """Return the next events of a channel, a batch each, as they come from the publisher under little load."""
        made = []
        for _ in range(count):
            offset = self.offset[channel] = self.offset[channel] + 1
            policy = self.policies[offset % len(self.policies)]
            made.append(stored(offset, offset - 1, channel, Priority.LOW, policy=policy))
        return made

    async def bulk(self, channel: str, count: int) -> None:
        await self.dispatcher.bulk(self.batches(channel, count), 1, lambda *_: None)

    def press(self, channel: str, width_ns: int) -> None:
        """Make a channel one that has just sent a frame and is busy, in a process under pressure."""
        feed = self.world.hub.feed(channel, Priority.LOW)
        assert feed is not None
        feed.arrived_ns = feed.flushed_ns = time.monotonic_ns()
        feed.gap_ns = 0
        self.dispatcher._window.width_ns = width_ns

    def received(self, sink: FakeSink) -> list[int]:
        return [each.offset for frame in sink.frames() for each in frame.events.events]


Step = tuple[str, int, int, str]
"""Channel, events, what the window says for them, and what follows: a quiet-time advance, or a flush."""


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(1, 6),
            st.sampled_from([0, 1, 2**63]),
            st.sampled_from(["", "advance", "flush"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_every_reader_gets_every_event_once_and_in_order(steps: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway_svc.dispatch.SLICE_NS", 0)  # a pause after each stamp: the worst that can happen
        asyncio.run(_deliver(steps, patch))


async def _deliver(steps: list[Step], patch: pytest.MonkeyPatch) -> None:
    model = Model()
    model.policies = ["one", "other"]
    dispatcher, hub = model.dispatcher, model.world.hub
    dispatcher.start()
    for channel, count, due, then in steps:
        # 0: at once; 1: waits, and is due already; 2^63: waits to the end.
        patch.setattr(FrameWindow, "due_ns", lambda *_, due=due: due)
        await model.bulk(channel, count)
        if then == "flush":
            await dispatcher.flush()
        elif then == "advance":
            through = model.offset[channel]
            await dispatcher.settle(channel, Priority.LOW)
            hub.advance(AdvanceItem(channel, Priority.LOW, EPOCH, through), 0.0)
    await dispatcher.close()
    for sink, channel in zip(model.sinks, "".join(name * count for name, count in READERS.items()), strict=True):
        assert model.received(sink) == list(range(1, model.offset[channel] + 1))
    assert not model.world.publisher.requests, "a reader had a hole"


async def test_a_queue_leaves_by_itself_when_it_is_due() -> None:
    model = Model()
    model.dispatcher.start()
    model.press("a", 20 * MS)
    await model.bulk("a", 5)
    assert all(not sink.data for sink in model.sinks), "all five wait"
    while not model.sinks[READERS["a"] - 1].data:
        await asyncio.sleep(0)
    assert [model.received(sink) for sink in model.sinks[: READERS["a"]]] == [[1, 2, 3, 4, 5]] * READERS["a"]
    await model.dispatcher.close()


async def test_a_flush_waits_for_a_queue_that_is_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at a drain: what came meanwhile goes behind it, or readers would have a hole and read it from the log."""
    monkeypatch.setattr("gateway_svc.dispatch.SLICE_NS", 0)
    monkeypatch.setattr(FrameWindow, "due_ns", lambda *_: 1)
    model = Model()
    model.policies = ["one", "other"]
    dispatcher = model.dispatcher
    dispatcher.start()
    await model.bulk("a", 4)
    while dispatcher._writing is None:
        await asyncio.sleep(0)
    await model.bulk("a", 2)
    await dispatcher.flush()
    assert [model.received(sink) for sink in model.sinks[: READERS["a"]]] == [[1, 2, 3, 4, 5, 6]] * READERS["a"]
    assert not model.world.publisher.requests
    await dispatcher.close()


async def test_a_wall_clock_that_is_set_back_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    model.dispatcher.start()
    model.press("a", 20 * MS)
    await model.bulk("a", 1)
    now_ns = time.time_ns
    monkeypatch.setattr("gateway_svc.dispatch.time.time_ns", lambda: now_ns() - 3_600_000 * MS)
    for _ in range(2):  # what waited when the clock was set, and what comes afterwards
        while model.dispatcher._waiting or model.dispatcher._writing is not None:
            await asyncio.sleep(0)
        if model.offset["a"] == 1:
            await model.bulk("a", 5)
    assert [model.received(sink) for sink in model.sinks[: READERS["a"]]] == [[1, 2, 3, 4, 5, 6]] * READERS["a"]
    await model.dispatcher.close()


async def test_a_stream_that_breaks_in_the_middle_of_a_batch_leaves_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway_svc.dispatch.SLICE_NS", 0)  # a pause after each stamp
    model = Model()
    reading = asyncio.create_task(model.bulk("a", 1))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert [model.received(sink) for sink in model.sinks[: READERS["a"]]] == [[1]] * READERS["a"]
