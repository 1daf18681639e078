"""The subscriber's inbox: continuity, recovery, gaps, credit, lanes."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from lanecast.core.position import Position
from lanecast.core.priority import LANES, Priority
from lanecast.internal.v1.stream_pb2 import StreamEventsResponseView
from lanecast.subscriber.core.inbox import Inbox
from lanecast.subscriber.core.items import Gap, Received
from lanecast.v1 import event_pb2
from lanecast.v1.publisher_pb2 import START_EARLIEST, START_LATEST, ChannelAdded, StreamEventsRequest

HIGH, LOW = Priority.HIGH, Priority.LOW


def batch(*offsets: tuple[int, int], channel: str = "a", lane: Priority = HIGH, epoch: str = "e") -> bytes:
    """Return a batch of events given as (previous offset, offset)."""
    events = [event_pb2.Event(id=str(offset), prev_offset=previous, offset=offset) for previous, offset in offsets]
    return event_pb2.EventBatch(channel=channel, lane=lane.wire_value, epoch=epoch, events=events).SerializeToString()


def added(channel: str = "a", lane: Priority = HIGH, offset: int = 0) -> ChannelAdded:
    position = event_pb2.LanePosition(lane=lane.wire_value, epoch="e", offset=offset)
    return ChannelAdded(channel=channel, positions=[position])


def gap(begin: int, end: int, reason: event_pb2.GapReason.ValueType = event_pb2.GAP_REASON_SHED) -> event_pb2.Gap:
    return event_pb2.Gap(
        channel="a", lane=HIGH.wire_value, epoch="e", from_offset=begin, to_offset=end, reason=reason, count=1
    )


def open_inbox(positions: dict[tuple[str, Priority], Position] | None = None, window: int = 1_000) -> Inbox:
    inbox = Inbox(["a"], [HIGH], START_LATEST, 0, positions or {}, window)
    inbox.opening("test")
    inbox.receive(StreamEventsResponseView(added=[added()]))
    return inbox


def taken(inbox: Inbox) -> list[int | str]:
    """Empty the inbox: offsets of events, reasons of gaps."""
    result: list[int | str] = []
    while (item := inbox.next()) is not None:
        result.append(item.reason if isinstance(item, Gap) else item.event.offset)
    return result


def test_a_stream_opens_with_lanes_credit_and_where_to_start() -> None:
    inbox = Inbox(["a", "b", "a"], [LOW, HIGH], START_EARLIEST, 0, {("b", LOW): Position("e", 7)}, 1_000)
    opening, add = inbox.opening("name")
    assert opening.open.subscriber == "name"
    assert list(opening.open.lanes) == [HIGH, LOW]
    assert [(credit.lane, credit.bytes) for credit in opening.open.credit] == [(HIGH, 1_000), (LOW, 1_000)]
    first, second = add.add.channels
    assert (first.channel, first.start, len(first.positions)) == ("a", START_EARLIEST, 0)
    assert [(at.lane, at.epoch, at.offset) for at in second.positions] == [(LOW, "e", 7)]
    assert not inbox.is_subscribed


def test_many_channels_are_added_in_several_messages() -> None:
    inbox = Inbox([str(number) for number in range(2_500)], [], START_LATEST, 0, {}, 1_000)
    assert [len(request.add.channels) for request in inbox.opening("")[1:]] == [1_000, 1_000, 500]


def test_contiguous_events_are_given_once() -> None:
    inbox = open_inbox()
    assert inbox.take_begun() == {("a", HIGH): Position("e", 0)}
    inbox.receive(StreamEventsResponseView(batches=[batch((0, 3), (3, 5))]))
    inbox.receive(StreamEventsResponseView(batches=[batch((3, 5), (5, 9))]))
    assert taken(inbox) == [3, 5, 9]
    assert inbox.duplicates == 1


def test_the_most_urgent_lane_is_given_first() -> None:
    inbox = Inbox(["a"], [], START_LATEST, 0, {}, 1_000)
    inbox.opening("")
    inbox.receive(StreamEventsResponseView(added=[added()]))
    for number, lane in enumerate(reversed(LANES), 1):
        inbox.receive(StreamEventsResponseView(batches=[batch((0, number), lane=lane)]))
    assert taken(inbox) == [4, 3, 2, 1]


def test_a_hole_is_read_again_from_the_cursor() -> None:
    inbox = open_inbox()
    inbox.receive(StreamEventsResponseView(batches=[batch((0, 3), (5, 8)), batch((8, 9))]))
    remove, add = inbox.take_requests()
    assert list(remove.remove.channels) == ["a"]
    assert [at.offset for at in add.add.channels[0].positions] == [3]
    inbox.receive(StreamEventsResponseView(batches=[batch((9, 10))]))  # was on its way before the removal
    inbox.receive(StreamEventsResponseView(added=[added(offset=3)], batches=[batch((3, 5), (5, 8), (8, 9), (9, 10))]))
    assert taken(inbox) == [3, 5, 8, 9, 10]
    assert inbox.recoveries == 1
    assert inbox.take_requests() == []


def test_a_hole_that_further_readings_leave_is_named() -> None:
    inbox = open_inbox()
    for _ in range(3):
        inbox.receive(StreamEventsResponseView(added=[added()], batches=[batch((5, 8))]))
        assert len(inbox.take_requests()) == 2
        assert taken(inbox) == []
    inbox.receive(StreamEventsResponseView(added=[added()], batches=[batch((5, 8), (8, 9))]))
    assert taken(inbox) == ["UNEXPLAINED", 8, 9]


def test_an_announced_gap_moves_the_cursor_in_its_place() -> None:
    inbox = open_inbox()
    inbox.receive(StreamEventsResponseView(batches=[batch((0, 1))]))
    inbox.receive(StreamEventsResponseView(gaps=[gap(1, 6)], batches=[batch((6, 7))]))
    first, middle, last = inbox.next(), inbox.next(), inbox.next()
    assert isinstance(first, Received)
    assert middle == Gap("a", HIGH, "e", 1, 6, "SHED", 1)
    assert isinstance(last, Received)
    assert inbox.recoveries == 0


def test_gaps_between_survivors_are_told_in_their_places() -> None:
    inbox = open_inbox()
    expired, conflated = event_pb2.GAP_REASON_EXPIRED, event_pb2.GAP_REASON_CONFLATED
    inbox.receive(StreamEventsResponseView(gaps=[gap(0, 2, expired)], batches=[batch((2, 3))]))
    inbox.receive(StreamEventsResponseView(gaps=[gap(3, 5, conflated)], batches=[batch((5, 6), (6, 7))]))
    inbox.receive(StreamEventsResponseView(gaps=[gap(7, 9, expired)]))
    assert taken(inbox) == ["EXPIRED", 3, "CONFLATED", 6, 7, "EXPIRED"]
    assert (inbox.recoveries, inbox.duplicates, inbox.take_requests()) == (0, 0, [])


def test_gaps_that_touch_are_one() -> None:
    inbox = open_inbox()
    for begin in range(0, 30, 3):
        inbox.receive(StreamEventsResponseView(gaps=[gap(begin, begin + 3)]))
    assert inbox.next() == Gap("a", HIGH, "e", 0, 30, "SHED", 10)
    assert inbox.next() is None


def test_a_gap_may_lead_back_where_the_service_lost_its_end() -> None:
    inbox = open_inbox({("a", HIGH): Position("old", 50)})
    ahead = gap(50, 10, event_pb2.GAP_REASON_AHEAD)
    inbox.receive(StreamEventsResponseView(gaps=[ahead], batches=[batch((10, 11))]))
    assert taken(inbox) == ["AHEAD", 11]


def test_a_gap_that_is_behind_the_cursor_is_old_news() -> None:
    inbox = open_inbox({("a", HIGH): Position("e", 50)})
    inbox.receive(StreamEventsResponseView(gaps=[gap(10, 50)]))
    assert taken(inbox) == []


def test_an_advance_moves_the_cursor_once_everything_before_it_was_taken() -> None:
    inbox = open_inbox()
    advance = event_pb2.Advance(channel="a", lane=HIGH.wire_value, epoch="e", through_offset=20)
    inbox.receive(StreamEventsResponseView(batches=[batch((0, 1))], advances=[advance]))
    assert inbox.take_advanced() == {}
    assert taken(inbox) == [1]
    assert inbox.take_advanced() == {("a", HIGH): Position("e", 20)}
    assert inbox.take_advanced() == {}
    inbox.receive(StreamEventsResponseView(batches=[batch((20, 21))]))
    assert taken(inbox) == [21]


def test_credit_is_given_back_as_events_are_taken() -> None:
    inbox = open_inbox(window=200)
    data = batch((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8))
    inbox.receive(StreamEventsResponseView(batches=[data]))
    for _ in range(7):
        inbox.next()
    assert inbox.take_requests() == []
    inbox.next()
    (request,) = inbox.take_requests()
    assert [(credit.lane, credit.bytes) for credit in request.credit.lanes] == [(HIGH, len(data))]


def test_credit_of_dropped_events_is_given_back_too() -> None:
    inbox = open_inbox({("a", HIGH): Position("e", 9)}, window=10)
    data = batch((0, 1))
    inbox.receive(StreamEventsResponseView(batches=[data]))
    (request,) = inbox.take_requests()
    assert request.credit.lanes[0].bytes == len(data)


def test_a_new_stream_gets_credit_for_what_is_not_buffered_only() -> None:
    inbox = open_inbox(window=1_000)
    data = batch((0, 1))
    inbox.receive(StreamEventsResponseView(batches=[data]))
    opening, add = inbox.opening("")
    assert opening.open.credit[0].bytes == 1_000 - len(data)
    assert add.add.channels[0].positions[0].offset == 1
    assert taken(inbox) == [1]


def test_a_refused_channel_is_reported() -> None:
    inbox = Inbox(["a*"], [HIGH], START_LATEST, 0, {}, 1_000)
    inbox.opening("")
    error = event_pb2.EventError(code=3, reason="CHANNEL_INVALID", message="leave * out")
    inbox.receive(StreamEventsResponseView(added=[ChannelAdded(channel="a*", error=error)]))
    assert inbox.refusal is not None
    assert (inbox.refusal.reason, str(inbox.refusal)) == ("CHANNEL_INVALID", "channel 'a*' was refused: leave * out")


@pytest.mark.parametrize("channel", ["other", "a"])
def test_what_was_not_asked_for_is_dropped(channel: str) -> None:
    inbox = open_inbox()
    inbox.receive(StreamEventsResponseView(batches=[batch((0, 1), channel=channel, lane=LOW)]))
    inbox.receive(StreamEventsResponseView(batches=[batch((0, 1), channel="other")]))
    assert taken(inbox) == []


class Service:
    """A log with one channel and lane whose stream repeats and loses messages."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.offsets: list[int] = []
        self.cursor: int | None = None
        self.losses: Counter[int] = Counter()

    def publish(self) -> None:
        last = self.offsets[-1] if self.offsets else 0
        self.offsets.append(last + self.chance.randrange(1, 4))

    def take(self, requests: list[StreamEventsRequest], inbox: Inbox) -> None:
        for request in requests:
            if request.HasField("add"):
                positions = request.add.channels[0].positions
                self.cursor = positions[0].offset if positions else 0
                inbox.receive(StreamEventsResponseView(added=[added(offset=self.cursor)]))

    def deliver(self, inbox: Inbox) -> None:
        assert self.cursor is not None
        begin = self.cursor
        if self.chance.random() < 0.2:  # repeats
            begin = max([0, *[offset for offset in self.offsets if offset < begin]])
        wanted = [offset for offset in self.offsets if offset > begin][: self.chance.randrange(1, 5)]
        pairs = list(zip([begin, *wanted], wanted, strict=False))
        if pairs:
            self.cursor = max(self.cursor, wanted[-1])
            if self.chance.random() < 0.2 and all(self.losses[offset] < 3 for offset in wanted):
                self.losses.update(wanted)
            else:
                inbox.receive(StreamEventsResponseView(batches=[batch(*pairs)]))


@settings(max_examples=effort(200))
@given(seed=st.integers(0, 2**32))
def test_whatever_is_lost_or_repeated_each_event_is_given_once_and_in_order(seed: int) -> None:
    chance = random.Random(seed)
    service = Service(chance)
    inbox = Inbox(["a"], [HIGH], START_EARLIEST, 0, {}, 500)
    service.take(inbox.opening(""), inbox)
    given: list[int | str] = []
    for _ in range(100):
        action = chance.random()
        if action < 0.3:
            service.publish()
        elif action < 0.35:
            service.take(inbox.opening(""), inbox)
        elif action < 0.8:
            service.deliver(inbox)
        else:
            given += taken(inbox)
        service.take(inbox.take_requests(), inbox)
    while not given or given[-1] != service.offsets[-1]:
        service.take(inbox.opening(""), inbox)
        service.deliver(inbox)
        service.take(inbox.take_requests(), inbox)
        given += taken(inbox)
        if not service.offsets:
            break
    assert given == service.offsets
