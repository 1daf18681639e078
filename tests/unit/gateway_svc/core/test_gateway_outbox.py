from __future__ import annotations

import pytest
from gateway_fakes import FakeSink, World, drain, event, item, subscribe
from hypothesis import given
from hypothesis import strategies as st

from gateway_svc.core.backlog import Entry, Totals
from gateway_svc.core.limits import SessionLimits
from gateway_svc.core.outbox import Outbox, Verdict
from gateway_svc.core.subscription import Reader
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import GAP_REASON_SHED
from lanecast.v1.gateway_pb2 import ServerFrame

LIMITS = SessionLimits(lane_bytes=dict.fromkeys(LANES, 1_000), control_bytes=300)


class Box:
    """An outbox with a reader in each lane of two channels."""

    def __init__(self) -> None:
        world = World()
        session, _ = world.session()
        self.readers: dict[tuple[str, Priority], Reader] = {}
        for name in ("c", "d"):
            subscribe(session, name)
            for reader in session.subscriptions[name].readers:
                self.readers[name, reader.lane] = reader
        self.sink = FakeSink()
        self.totals = Totals()
        self.outbox = Outbox(self.sink, LIMITS, self.totals, lambda: self.time, binary=True)
        self.offset = 0
        self.time = 0.0

    def send(self, lane: Priority, channel: str = "c", size: int = 10) -> Verdict:
        reader = self.readers[channel, lane]
        self.offset += 1
        sent = item([event(self.offset, reader.cursor, size)], channel, lane)
        verdict = self.outbox.send(reader, sent)
        if verdict in {Verdict.SENT, Verdict.QUEUED}:
            reader.cursor = sent.last
        return verdict

    def fill(self) -> None:
        """Let the socket be full, with one frame in its hands."""
        self.sink.full = True
        assert self.send(Priority.LOW) is Verdict.QUEUED

    def resume(self) -> list[Entry]:
        self.sink.full = self.sink.held = False
        return self.outbox.resume()


@pytest.fixture
def box() -> Box:
    return Box()


def offsets(frames: list[ServerFrame]) -> list[int]:
    return [each.offset for frame in frames for each in frame.events.events]


def test_while_nothing_waits_frames_go_straight_through(box: Box) -> None:
    assert box.send(Priority.LOW) is Verdict.SENT
    assert box.send(Priority.CRITICAL) is Verdict.SENT
    assert offsets(box.sink.frames()) == [1, 2]
    assert (box.outbox.clear, box.outbox.waiting_bytes) == (True, 0)


def test_what_waited_leaves_by_lane_and_answers_leave_first(box: Box) -> None:
    box.fill()
    for lane in (Priority.LOW, Priority.NORMAL, Priority.CRITICAL, Priority.HIGH):
        assert box.send(lane) is Verdict.QUEUED
    box.outbox.control(b"\x82\x00")
    box.sink.frames()
    done = box.resume()
    assert [entry.item.lane for entry in done] == [Priority.LOW, *LANES]
    written = box.sink.frames()
    assert written[0].WhichOneof("frame") is None
    assert offsets(written) == [4, 5, 3, 2]
    assert (box.outbox.clear, box.totals.bytes) == (True, 0)


def test_batches_of_a_channel_that_waited_share_a_frame(box: Box) -> None:
    box.fill()
    for channel in ("c", "c", "c", "d"):
        box.send(Priority.HIGH, channel)
    box.sink.frames()
    box.resume()
    written = box.sink.frames()
    assert [(frame.events.channel, len(frame.events.events)) for frame in written] == [("c", 3), ("d", 1)]
    assert written[0].events.edge_send_time_unix_nano == 6


@pytest.mark.parametrize("lane", [Priority.CRITICAL, Priority.HIGH])
def test_express_lanes_close_when_full(box: Box, lane: Priority) -> None:
    box.fill()
    assert box.send(lane, size=600) is Verdict.QUEUED
    assert box.send(lane, size=600) is Verdict.CLOSE


def test_normal_spools_when_full_and_drops_from_its_first_waiting(box: Box) -> None:
    box.fill()
    assert box.send(Priority.NORMAL, "d", size=300) is Verdict.QUEUED
    assert box.send(Priority.NORMAL, "c", size=300) is Verdict.QUEUED
    assert box.send(Priority.NORMAL, "c", size=600) is Verdict.SPOOL
    reader = box.readers["c", Priority.NORMAL]
    assert reader.cursor == 3
    assert box.outbox.drop(reader) == 0
    box.sink.frames()
    box.resume()
    assert offsets(box.sink.frames()) == [2]


def test_low_sheds_its_oldest_and_names_the_loss_once_per_flush(box: Box) -> None:
    box.fill()
    for _ in range(6):
        assert box.send(Priority.LOW, size=300) is Verdict.QUEUED
    assert box.totals.take_dropped() == {(Priority.LOW, "shed"): 4}
    box.sink.frames()
    box.resume()
    gap, *rest = box.sink.frames()
    assert (gap.gap.from_offset, gap.gap.to_offset, gap.gap.count, gap.gap.reason) == (1, 5, 4, GAP_REASON_SHED)
    assert offsets(rest) == [6, 7]


def test_a_frame_larger_than_the_lane_goes_when_it_is_alone(box: Box) -> None:
    box.fill()
    assert box.send(Priority.CRITICAL, size=5_000) is Verdict.QUEUED


def test_too_many_answers_are_refused(box: Box) -> None:
    box.fill()
    assert box.outbox.control(b"x" * 200)
    assert not box.outbox.control(b"x" * 200)


def test_a_closed_outbox_holds_and_sends_nothing(box: Box) -> None:
    box.fill()
    box.send(Priority.HIGH)
    box.outbox.close()
    box.outbox.close()
    assert box.totals.bytes == 0
    box.sink.frames()
    box.send(Priority.HIGH)
    box.outbox.control(b"x")
    assert box.resume() == []
    assert box.sink.frames() == []


@given(st.lists(st.tuples(st.sampled_from([*LANES, None]), st.sampled_from("cd"), st.integers(0, 900)), max_size=40))
def test_bounds_hold_and_lanes_leave_in_order(plan: list[tuple[Priority | None, str, int]]) -> None:
    box = Box()
    box.fill()
    for lane, channel, size in plan:
        if lane is None:
            box.outbox.control(b"\x82\x00")
        elif box.send(lane, channel, size) is Verdict.SPOOL:
            reader = box.readers[channel, lane]
            before = box.outbox.drop(reader)
            reader.cursor = reader.cursor if before is None else before
        # One frame may exceed a lane's share, where it is alone.
        assert box.outbox.waiting_bytes <= sum(LIMITS.lane_bytes.values()) + LIMITS.control_bytes
    box.sink.frames()
    left = [entry.item.lane for entry in box.resume()][1:]
    assert left == sorted(left)
    assert box.totals.bytes == 0


def test_drain_helper_goes_on_until_clear(box: Box) -> None:
    world = World()
    session, sink = world.session()
    subscribe(session, "c")
    world.position("c")
    sink.frames()
    sink.full = True
    world.live(item([event(1, 0)]))
    world.live(item([event(2, 1)]))
    drain(session, sink)
    assert offsets(sink.frames()) == [1, 2]
