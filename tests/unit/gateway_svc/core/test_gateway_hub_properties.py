"""Whatever happens in whatever order, each session sees every event once and in order, or a gap that names it."""

from __future__ import annotations

from typing import Any

import pytest
from effort import effort
from gateway_fakes import EPOCH, FakeSink, World, drain, event, item, page, subscribe
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_svc.core import backlog, channel
from gateway_svc.core.items import AdvanceItem
from gateway_svc.core.limits import SessionLimits
from gateway_svc.core.ports import PageRequest
from gateway_svc.core.session import Session
from lanecast.core.position import Position
from lanecast.core.priority import BULK_LANES, LANES, Priority
from lanecast.v1.event_pb2 import (
    GAP_REASON_CONFLATED,
    GAP_REASON_EXPIRED,
    GAP_REASON_SHED,
    Event,
    LanePosition,
)  # fmt: skip
from lanecast.v1.gateway_pb2 import ServerFrame
from lanecast.v1.publisher_pb2 import START_EARLIEST, START_LAST_N

CHANNEL = "c"
SMALL = SessionLimits(
    max_commands_per_second=1_000_000,
    lane_bytes={Priority.CRITICAL: 10**6, Priority.HIGH: 10**6, Priority.NORMAL: 400, Priority.LOW: 400},
)


class Model:
    """A publisher with a log and a stream, and sessions on a hub."""

    def __init__(self) -> None:
        self.world = World(SMALL)
        self.offset = 0
        self.log: dict[Priority, list[Event]] = {lane: [] for lane in LANES}
        self.streamed: dict[Priority, int] = dict.fromkeys(LANES, 0)
        self.sessions: list[tuple[Session, FakeSink]] = []
        self.lost: set[Priority] = set()
        self.connected = False

    def add_session(self, lane: Priority, start: str, at: int) -> None:
        session, sink = self.world.session()
        self.sessions.append((session, sink))
        fields: dict[str, Any] = {
            "latest": {},
            "earliest": {"start": START_EARLIEST},
            "last": {"start": START_LAST_N, "last_n": at % 5 + 1},
            "position": {"positions": [LanePosition(lane=lane.wire_value, epoch=EPOCH, offset=at % (self.offset + 1))]},
        }[start]
        subscribe(session, CHANNEL, lanes=[lane.wire_value], **fields)

    def publish(self, lane: Priority, count: int) -> None:
        """Publish events, of which some have one of two keys, and some a time to live."""
        events = self.log[lane]
        for _ in range(count):
            self.offset += 1
            key, ttl_millis = ("", "x", "y")[self.offset % 3], (0, 0, 0, 200)[self.offset % 4]
            events.append(event(self.offset, events[-1].offset if events else 0, 40, key, ttl_millis))

    def connect(self, jump: bool) -> None:
        known = self.world.hub.positions(CHANNEL, LANES)
        if known is None:
            return
        self.connected = True
        for lane in LANES:
            resumed = known[lane].offset if lane in known and not jump else self.offset
            self.streamed[lane] = resumed
        self.lost.clear()
        self.world.hub.positioned(CHANNEL, [(lane, Position(EPOCH, self.streamed[lane])) for lane in LANES])

    def stream(self, lane: Priority, count: int, again: int) -> None:
        """Send what is next on the stream, perhaps beginning with what was sent before."""
        if not self.connected:
            return
        events = self.log[lane]
        first = next((i for i, each in enumerate(events) if each.offset > self.streamed[lane]), len(events))
        chosen = events[max(0, first - again) : first + count]
        if chosen:
            self.streamed[lane] = max(self.streamed[lane], chosen[-1].offset)
            self.lost.discard(lane)
            self.world.live(item(chosen, CHANNEL, lane))
        else:
            self.advance(lane)

    def advance(self, lane: Priority) -> None:
        if (
            self.connected
            and lane not in self.lost
            and not any(each.offset > self.streamed[lane] for each in self.log[lane])
        ):
            self.streamed[lane] = self.offset
            self.world.hub.advance(AdvanceItem(CHANNEL, lane, EPOCH, self.offset), self.world.time)

    def burst(self, lane: Priority, count: int) -> None:
        """Publish and stream events in batches of one."""
        for _ in range(count):
            self.publish(lane, 1)
            self.stream(lane, 1, 0)

    def storm(self, lane: Priority, count: int) -> None:
        """Publish and stream while the first client of the lane takes nothing."""
        self.sessions[LANES.index(lane)][1].full = True
        self.burst(lane, count)

    def lose(self, lane: Priority, count: int) -> None:
        """Skip events on the stream without a word: what must never happen, and must not matter if it does."""
        for each in [each for each in self.log[lane] if each.offset > self.streamed[lane]][:count]:
            self.streamed[lane] = each.offset
            self.lost.add(lane)

    def answer(self, which: int, limit: int, fail: bool) -> None:
        requests = self.world.publisher.requests
        if not requests:
            return
        request: PageRequest = requests.pop(which % len(requests))
        if fail:
            self.world.hub.page_failed(request, "later", retryable=True)
            return
        events = self.log[request.lane]
        if request.after is None:
            chosen, limit = events[-request.last_n :], request.last_n
        else:
            chosen = [each for each in events if each.offset > request.after]
        some = chosen[:limit]
        more = len(some) < len(chosen)
        covered = some[-1].offset if more else self.offset
        self.world.hub.page(request, page(some, covered, request.lane, more=more))

    def settle(self) -> None:
        """Let everything come to rest."""
        self.connect(jump=False)
        for _ in range(400):
            self.world.time += 0.25
            for session, sink in self.sessions:
                drain(session, sink)
            for lane in LANES:
                self.stream(lane, 100, 0)
            while self.world.publisher.requests:
                self.answer(0, 7, fail=False)
            self.world.hub.tick(self.world.time)
            if not self.world.publisher.requests and not self.world.totals.bytes:
                break

    def check(self) -> None:
        for session, sink in self.sessions:
            assert not session.closed
            frames = sink.frames()
            assert frames, "never answered"
            self._check_frames(frames)

    def _check_frames(self, frames: list[ServerFrame]) -> None:
        assert frames[0].WhichOneof("frame") == "subscribed"
        start = frames[0].subscribed.positions[0]
        lane = Priority(start.lane)
        cursor = start.offset
        lost: dict[int, int] = {}
        for frame in frames[1:]:
            kind = frame.WhichOneof("frame")
            if kind == "gap":
                gap = frame.gap
                assert gap.reason in MAY_LOSE[lane]
                assert gap.from_offset == cursor < gap.to_offset
                missing = [each.offset for each in self.log[lane] if cursor < each.offset <= gap.to_offset]
                assert gap.count == len(missing) > 0
                lost.update(dict.fromkeys(missing, gap.reason))
                cursor = gap.to_offset
            elif kind == "advance":
                assert not [each for each in self.log[lane] if cursor < each.offset <= frame.advance.through_offset]
                cursor = max(cursor, frame.advance.through_offset)
            else:
                assert kind == "events"
                for each in frame.events.events:
                    assert each.prev_offset <= cursor < each.offset, (each.prev_offset, cursor, each.offset)
                    cursor = each.offset
        assert not [each.offset for each in self.log[lane] if each.offset > cursor], "events are missing at the end"
        self._check_losses(lane, lost)

    def _check_losses(self, lane: Priority, lost: dict[int, int]) -> None:
        newest = {each.conflation_key: each.offset for each in self.log[lane]}
        for each in self.log[lane]:
            reason = lost.get(each.offset)
            if reason == GAP_REASON_CONFLATED:
                assert each.conflation_key, "only what has a key is replaced"
                assert each.offset < newest[each.conflation_key], "the newest of a key is never replaced"
            elif reason == GAP_REASON_EXPIRED:
                assert each.ttl_millis


MAY_LOSE = {
    Priority.CRITICAL: {GAP_REASON_EXPIRED},
    Priority.HIGH: {GAP_REASON_EXPIRED},
    Priority.NORMAL: {GAP_REASON_EXPIRED, GAP_REASON_CONFLATED},
    Priority.LOW: {GAP_REASON_EXPIRED, GAP_REASON_CONFLATED, GAP_REASON_SHED},
}

lanes = st.sampled_from(LANES)
starts = st.sampled_from(["latest", "earliest", "last", "position"])
small = st.integers(0, 6)
steps = st.one_of(
    st.tuples(st.just("publish"), lanes, st.integers(1, 6)),
    st.tuples(st.just("stream"), lanes, st.integers(1, 4), st.integers(0, 3)),
    st.tuples(st.just("advance"), lanes),
    st.tuples(st.just("answer"), small, st.integers(1, 5), st.booleans()),
    st.tuples(st.just("add_session"), lanes, starts, st.integers(0, 40)),
    st.tuples(st.just("connect"), st.booleans()),
    st.tuples(st.just("burst"), lanes, st.integers(3, 9)),
    st.tuples(st.just("storm"), st.sampled_from(BULK_LANES), st.integers(5, 20)),
    st.tuples(st.just("lose"), lanes, st.integers(1, 3)),
    st.tuples(st.just("fill"), small),
    st.tuples(st.just("empty"), small),
    st.tuples(st.just("tick")),
)  # fmt: skip


@settings(max_examples=effort(400), deadline=None)
@given(st.lists(steps, max_size=60))
def test_every_event_once_in_order_or_named_by_a_gap(plan: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "RING_ITEMS", 3)
        patch.setattr(backlog, "_FEW_DROPS", 2)
        run(plan)


def run(plan: list[tuple[Any, ...]]) -> None:
    model = Model()
    for lane in LANES:
        model.add_session(lane, "latest", 0)
    model.connect(jump=False)
    for name, *arguments in plan:
        if name == "fill":
            model.sessions[arguments[0] % len(model.sessions)][1].full = True
        elif name == "empty":
            session, sink = model.sessions[arguments[0] % len(model.sessions)]
            drain(session, sink)
        elif name == "tick":
            model.world.time += 0.25
            model.world.hub.tick(model.world.time)
        else:
            getattr(model, name)(*arguments)
    model.settle()
    model.check()
