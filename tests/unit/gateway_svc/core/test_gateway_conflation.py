"""A client that is behind gets the newest of each key and nothing expired, and gaps name exactly the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from effort import effort
from gateway_fakes import EPOCH, FakeSink, World, event, item, subscribe
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_svc.core import backlog, outbox
from gateway_svc.core.backlog import Totals
from gateway_svc.core.conflation import conflate, in_place, joined, marks_of
from gateway_svc.core.items import AdvanceItem, EventItem, GapItem, Item
from gateway_svc.core.limits import SessionLimits
from gateway_svc.core.outbox import Outbox, Verdict
from gateway_svc.core.subscription import Reader
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import (
    GAP_REASON_CONFLATED,
    GAP_REASON_EXPIRED,
    GAP_REASON_SHED,
    GAP_REASON_TRUNCATED,
    Event,
)  # fmt: skip
from lanecast.v1.gateway_pb2 import ServerFrame

CRITICAL, NORMAL, LOW = Priority.CRITICAL, Priority.NORMAL, Priority.LOW
MAY_LOSE = {
    CRITICAL: {GAP_REASON_EXPIRED},
    NORMAL: {GAP_REASON_EXPIRED, GAP_REASON_CONFLATED},
    LOW: {GAP_REASON_EXPIRED, GAP_REASON_CONFLATED, GAP_REASON_SHED},
}


class New(NamedTuple):
    """An event to be sent."""

    key: str = ""
    ttl_millis: int = 0
    size: int = 0


class Client:
    """One that checks what it gets in one channel and lane."""

    def __init__(self, lane: Priority) -> None:
        self.lane = lane
        self.cursor = 0
        self.sent: dict[int, Event] = {}
        self.newest: dict[str, int] = {}
        """Of each key in the log, which has what was spooled as well."""
        self.got: list[int] = []
        self.lost: dict[int, int] = {}

    def take(self, frame: ServerFrame) -> None:
        if frame.WhichOneof("frame") == "gap":
            gap = frame.gap
            assert gap.from_offset == self.cursor < gap.to_offset
            assert gap.reason in MAY_LOSE[self.lane]
            missing = [offset for offset in self.sent if self.cursor < offset <= gap.to_offset]
            assert gap.count == len(missing) > 0
            self.lost.update(dict.fromkeys(missing, gap.reason))
            self.cursor = gap.to_offset
        for each in frame.events.events:
            assert each.prev_offset <= self.cursor < each.offset
            assert each == self.sent[each.offset], "an event that is delivered is delivered as it was sent"
            self.cursor = each.offset
            self.got.append(each.offset)

    def check(self) -> None:
        assert sorted([*self.got, *self.lost]) == list(self.sent), "each is delivered or named, never both"
        for offset, reason in self.lost.items():
            each = self.sent[offset]
            if reason == GAP_REASON_CONFLATED:
                assert each.conflation_key
                assert offset < self.newest[each.conflation_key]
            elif reason == GAP_REASON_EXPIRED:
                assert each.ttl_millis


class Line:
    """A connection with a reader in three lanes of two channels, whose socket takes a chunk at a time."""

    def __init__(self, limit: int = 2_000, *, binary: bool = True) -> None:
        world = World()
        session, _ = world.session()
        self.readers: dict[tuple[str, Priority], Reader] = {}
        self.clients: dict[tuple[str, Priority], Client] = {}
        for name in ("c", "d"):
            subscribe(session, name)
            for reader in session.subscriptions[name].readers:
                self.readers[name, reader.lane] = reader
                self.clients[name, reader.lane] = Client(reader.lane)
        self.sink = FakeSink()
        self.sink.full = True
        self.totals = Totals()
        self.time = 0.0
        limits = SessionLimits(lane_bytes=dict.fromkeys(LANES, limit) | {CRITICAL: 10**6})
        self.outbox = Outbox(self.sink, limits, self.totals, lambda: self.time, binary=binary)
        self.offset = 0
        self.spooled: set[tuple[str, Priority]] = set()

    def send(self, lane: Priority, channel: str, *new: New) -> Verdict:
        key = (channel, lane)
        reader, client = self.readers[key], self.clients[key]
        events: list[Event] = []
        previous = reader.cursor
        for each in new:
            self.offset += 1
            events.append(event(self.offset, previous, each.size, each.key, each.ttl_millis))
            previous = self.offset
        return self.put(reader, item(events, channel, lane), client)

    def put(self, reader: Reader, sent: EventItem, client: Client) -> Verdict:
        client.newest.update((each.conflation_key, each.offset) for each in sent.batch.events)
        verdict = self.outbox.send(reader, sent)
        if verdict in {Verdict.SENT, Verdict.QUEUED}:
            client.sent.update((each.offset, each) for each in sent.batch.events)
            reader.cursor = sent.last
        else:
            assert verdict is Verdict.SPOOL
            before = self.outbox.drop(reader)
            if before is not None:
                reader.cursor = before
            client.sent = {offset: each for offset, each in client.sent.items() if offset <= reader.cursor}
        return verdict

    def turn(self) -> None:
        """The kernel takes what it holds; the outbox writes one more chunk."""
        if self.sink.held:
            self.sink.held = False
            self.outbox.resume()

    def finish(self) -> None:
        while self.sink.held:
            self.turn()
        for frame in self.sink.frames():
            channel = frame.gap.channel or frame.events.channel
            self.clients[channel, Priority(frame.gap.lane or frame.events.lane)].take(frame)
        for client in self.clients.values():
            client.check()
        assert (self.outbox.clear, self.outbox.waiting_bytes, self.totals.bytes) == (True, 0, 0)


def got(line: Line, lane: Priority, channel: str = "c") -> list[int]:
    return line.clients[channel, lane].got


news = st.builds(New, st.sampled_from(["", "x", "y", "z"]), st.sampled_from([0, 0, 100, 300]), st.integers(0, 40))
steps = st.one_of(
    st.tuples(
        st.just("send"), st.sampled_from([NORMAL, NORMAL, LOW, CRITICAL]), st.sampled_from("ccd"),
        st.lists(news, min_size=1, max_size=6),
    ),
    st.tuples(st.just("turn")),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 0.2])),
)  # fmt: skip


@settings(max_examples=effort(500), deadline=None)
@given(st.lists(steps, min_size=5, max_size=60), st.sampled_from([300, 1_200]))
def test_what_is_not_delivered_is_named_and_order_holds(plan: list[tuple[object, ...]], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "_FEW_DROPS", 3)
        patch.setattr(outbox, "CHUNK_BYTES", 250)
        line = Line(limit)
        for name, *arguments in plan:
            if name == "send":
                lane, channel, new = arguments
                line.send(lane, channel, *new)  # type: ignore[arg-type, misc]
            elif name == "turn":
                line.turn()
            else:
                line.time += arguments[0]  # type: ignore[operator]
            assert sum(len(each.entries) for each in queues(line)) <= 200
        line.finish()


def queues(line: Line) -> Sequence[backlog.LaneBacklog]:
    waiting = line.outbox._backlog
    return () if waiting is None else tuple(waiting.lanes.values())


@pytest.mark.parametrize("lane", [NORMAL, LOW])
def test_only_the_newest_of_a_key_is_sent_and_one_gap_names_the_others(lane: Priority) -> None:
    line = Line()
    line.send(lane, "c", New())
    for _ in range(3):
        line.send(lane, "c", New("x"), New("y"))
    assert line.totals.take_dropped() == {(lane, "conflated"): 4}
    line.turn()
    frames = line.sink.frames()
    assert [frame.WhichOneof("frame") for frame in frames] == ["events", "gap", "events"]
    gap = frames[1].gap
    assert (gap.from_offset, gap.to_offset, gap.count, gap.reason, gap.epoch) == (1, 5, 4, GAP_REASON_CONFLATED, EPOCH)
    assert [each.offset for each in frames[2].events.events] == [6, 7]


def test_channels_that_take_turns_have_one_gap_each() -> None:
    line = Line()
    line.send(NORMAL, "c", New())
    for _ in range(5):
        line.send(NORMAL, "c", New("x"))
        line.send(NORMAL, "d", New("x"))
    line.turn()
    assert [frame.gap.channel for frame in line.sink.frames() if frame.HasField("gap")] == ["c", "d"]


@pytest.mark.parametrize("lane", [CRITICAL, Priority.HIGH])
def test_express_lanes_are_never_conflated(lane: Priority) -> None:
    line = Line()
    for _ in range(5):
        line.send(lane, "c", New("x"))
    line.turn()
    sent = [each.offset for frame in line.sink.frames() for each in frame.events.events]
    assert sent == [1, 2, 3, 4, 5]
    assert line.totals.take_dropped() == {}


def test_a_client_that_keeps_up_gets_everything() -> None:
    line = Line()
    line.sink.full = False
    for _ in range(5):
        assert line.send(LOW, "c", New("x", 1)) is Verdict.SENT
    line.time = 9.0
    line.finish()
    assert got(line, LOW) == [1, 2, 3, 4, 5]
    assert line.totals.take_dropped() == {}


def test_what_expired_while_it_waited_is_not_sent_in_any_lane() -> None:
    line = Line()
    line.send(LOW, "c", New())
    for lane in (CRITICAL, NORMAL, LOW):
        line.send(lane, "c", New(ttl_millis=100), New(ttl_millis=300))
        line.send(lane, "d", New(ttl_millis=100), New())
    line.time = 0.2
    line.finish()
    assert (got(line, CRITICAL), got(line, CRITICAL, "d")) == ([3], [5])
    assert (got(line, NORMAL), got(line, LOW, "d")) == ([7], [13])
    assert line.totals.take_dropped() == {(lane, "expired"): 2 for lane in (CRITICAL, NORMAL, LOW)}


def test_an_event_expires_by_its_age_when_it_left_the_publisher() -> None:
    second = 1_000_000_000
    batch = item([event(1, 0, ttl_millis=1_500), event(2, 1, key="k")], lane=NORMAL)
    batch.batch.events[0].accept_time_unix_nano = 7 * second
    batch.batch.flush_time_unix_nano = 8 * second
    [timed, keyed] = marks_of(batch, 100.0)
    assert (timed.offset, timed.key, timed.expires) == (1, "", 100.5)
    assert (keyed.offset, keyed.key, keyed.expires) == (2, "k", float("inf"))
    ahead = item([event(1, 0, ttl_millis=1_500)])
    ahead.batch.events[0].accept_time_unix_nano = 9 * second
    assert marks_of(ahead, 100.0)[0].expires == 101.5, "a clock that is behind makes nothing live longer"
    assert marks_of(ahead, 500.0)[0].expires == 101.5, "time to live runs on while other readers look"


def test_a_batch_that_lost_some_leaves_the_shared_one_as_it_was() -> None:
    line = Line()
    line.send(NORMAL, "c", New())
    shared = item([event(2, 1, key="x"), event(3, 2), event(4, 3, key="y")], "c", NORMAL)
    frame = shared.frame(True)
    line.offset = 4
    line.put(line.readers["c", NORMAL], shared, line.clients["c", NORMAL])
    line.send(NORMAL, "c", New("y"), New("x"))
    line.finish()
    assert got(line, NORMAL) == [1, 3, 5, 6]
    assert shared.frame(True) is frame
    assert [each.offset for each in shared.batch.events] == [2, 3, 4]


def test_keys_that_repeat_for_ever_cost_no_memory() -> None:
    line = Line()
    line.send(NORMAL, "c", New())
    for _ in range(5_000):
        assert line.send(NORMAL, "c", New("x", size=100)) is Verdict.QUEUED
    assert sum(len(each.entries) for each in queues(line)) < 100
    assert line.outbox.waiting_bytes < 300
    line.finish()
    assert got(line, NORMAL) == [1, 5_001]


def test_batches_that_lost_most_of_their_events_make_room_before_normal_is_spooled() -> None:
    line = Line(4_000)
    line.send(NORMAL, "c", New())
    for number in range(12):
        new = [New(f"own{number}")] + [New("x", size=300)] * 3
        assert line.send(NORMAL, "c", *new) is Verdict.QUEUED
    line.finish()
    assert len(got(line, NORMAL)) == 1 + 12 + 1


def test_what_was_put_in_order_can_still_be_replaced() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backlog, "_FEW_DROPS", 0)
        line = Line()
        line.send(NORMAL, "c", New())
        line.send(NORMAL, "c", New("x"), New("y"), New())
        for _ in range(4):
            line.send(NORMAL, "c", New("x"))
        line.send(NORMAL, "c", New("y"))
        line.finish()
    assert got(line, NORMAL) == [1, 4, 8, 9]


def test_an_event_that_has_left_is_not_replaced() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "CHUNK_BYTES", 1)
        line = Line()
        line.send(NORMAL, "c", New())
        line.send(NORMAL, "c", New("x"))
        line.send(NORMAL, "c", New("y"))
        line.turn()
        line.send(NORMAL, "c", New("x"))
        line.finish()
    assert got(line, NORMAL) == [1, 2, 3, 4]


def test_the_loss_of_low_names_what_was_conflated_before_it() -> None:
    line = Line(1_000)
    line.send(LOW, "c", New())
    line.send(LOW, "c", New("x", size=300))
    line.send(LOW, "c", New(size=300))
    line.send(LOW, "c", New("x", size=300))
    line.send(LOW, "c", New(size=300))
    line.send(LOW, "c", New(size=300))
    assert line.totals.take_dropped() == {(LOW, "conflated"): 1, (LOW, "shed"): 2}
    line.turn()
    _, gap, *rest = line.sink.frames()
    assert (gap.gap.from_offset, gap.gap.to_offset, gap.gap.count, gap.gap.reason) == (1, 4, 3, GAP_REASON_SHED)
    assert [each.offset for frame in rest for each in frame.events.events] == [5, 6]


def test_json_clients_are_told_the_same() -> None:
    line = Line(binary=False)
    line.send(NORMAL, "c", New())
    line.send(NORMAL, "c", New("x"), New())
    line.send(NORMAL, "c", New("x"))
    line.sink.data.clear()
    line.turn()
    text = bytes(line.sink.data)
    assert text.count(b'"gap"') == 1
    assert text.index(b"GAP_REASON_CONFLATED") < text.index(b'"offset":"3"') < text.index(b'"offset":"4"')
    assert b'"offset":"2"' not in text


def test_a_page_is_conflated_as_one_with_gaps_in_their_places() -> None:
    keyed = [("x", 5), ("", 6), ("x", 7), ("y", 8), ("x", 9), ("", 10)]
    events = [event(offset, offset - 1, key=key) for key, offset in keyed]
    parts = conflate([item(events[:3], lane=LOW), item(events[3:], lane=LOW)], 4)
    assert [(type(part), part.prev, part.last, part.count) for part in parts] == [
        (GapItem, 4, 5, 1), (EventItem, 5, 6, 1), (GapItem, 6, 7, 1), (EventItem, 7, 10, 3),
    ]  # fmt: skip
    assert [part.last for part in conflate([item(events[1:4], lane=LOW)], 6)] == [8], "what was seen is not in it"


def test_gaps_of_a_page_stand_where_their_events_were() -> None:
    def gap(begin: int, end: int) -> GapItem:
        return GapItem("c", LOW, EPOCH, begin, end, GAP_REASON_EXPIRED, 1)

    items = [item([event(2, 1), event(3, 2), event(5, 4)], lane=LOW), item([event(6, 5)], lane=LOW)]
    placed = list(in_place(items, [gap(1, 1), gap(3, 4), gap(6, 7)]))
    assert [(type(each), each.last) for each in placed] == [
        (GapItem, 1), (EventItem, 3), (GapItem, 4), (EventItem, 5), (EventItem, 6), (GapItem, 7),
    ]  # fmt: skip


def test_only_gaps_of_a_kind_become_one() -> None:
    one = GapItem("c", LOW, EPOCH, 1, 3, GAP_REASON_EXPIRED, 2)
    two = GapItem("c", LOW, EPOCH, 3, 5, GAP_REASON_EXPIRED, 1)
    both = joined(one, two)
    assert both is not None
    assert (both.prev, both.last, both.count) == (1, 5, 3)
    unknown = joined(one, GapItem("c", LOW, EPOCH, 3, 5, GAP_REASON_EXPIRED, 0))
    assert unknown is not None
    assert unknown.count == 0
    others: list[Item] = [
        GapItem("c", LOW, EPOCH, 3, 5, GAP_REASON_TRUNCATED, 1),
        GapItem("c", LOW, EPOCH, 4, 5, GAP_REASON_EXPIRED, 1),
        GapItem("c", LOW, "B", 3, 5, GAP_REASON_EXPIRED, 1),
        AdvanceItem("c", LOW, EPOCH, 5),
    ]
    assert [joined(one, other) for other in others] == [None] * 4
