from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from lanecast.core import wire
from lanecast.core.policy import DEFAULT, LEGACY_500MS
from lanecast.core.position import Continuity, continuity
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event
from lanecast.v1.publisher_pb2 import StreamEventsResponse
from publisher_svc.core.downstream import Downstream
from publisher_svc.core.group import Group

NOW = 10**12
CLOCK = count(NOW, 10**9)
"""Each look at it is a second later: nothing lingers unless a test says when it asks."""


def downstream(*, credit: int = 1 << 20, events: int = 64, size: int = 32_768, queue: int = 1 << 20) -> Downstream:
    return Downstream(
        LANES, dict.fromkeys(LANES, credit), max_message_events=events, max_message_bytes=size, max_queue_bytes=queue
    )


def group(
    channel: str, lane: Priority, *offsets: int, previous: int = 0, padding: int = 0, replayed: bool = False
) -> Group:
    events = []
    for offset in offsets:
        event = Event(channel=channel, priority=lane.wire_value, source="x" * padding)
        events.append(event.SerializeToString() + wire.event_position(offset, previous, 1))
        previous = offset
    head = wire.batch_head(channel, lane, "epoch")
    return Group(channel, lane, head, events, offsets[-1], sum(map(len, events)), replayed)


def taken(stream: Downstream) -> StreamEventsResponse | None:
    data = stream.take(next(CLOCK))
    return None if data is None else StreamEventsResponse.FromString(data)


def shape(response: StreamEventsResponse | None) -> list[tuple[str, str, list[int]]]:
    assert response is not None
    return [(b.channel, Priority(b.lane).name, [e.offset for e in b.events]) for b in response.batches]


def test_nothing_subscribed_is_nothing_to_send() -> None:
    stream = downstream()
    assert not stream.offer(group("a", Priority.HIGH, 1), NOW)
    assert stream.take(NOW) is None


def test_urgent_lanes_go_first_whatever_came_first() -> None:
    stream = downstream()
    for lane in LANES:
        stream.add("a", lane, 0, live=True)
    for offset, lane in enumerate(reversed(LANES), 1):
        stream.offer(group("a", lane, offset), NOW)
    assert shape(taken(stream)) == [
        ("a", "CRITICAL", [4]),
        ("a", "HIGH", [3]),
        ("a", "NORMAL", [2]),
        ("a", "LOW", [1]),
    ]
    assert stream.queued_events == 0


def test_groups_of_a_channel_become_one_batch_with_the_flush_time() -> None:
    stream = downstream()
    stream.add("a", Priority.LOW, 0, live=True)
    stream.offer(group("a", Priority.LOW, 1, 2), NOW)
    stream.offer(group("a", Priority.LOW, 5, previous=2), NOW)
    response = taken(stream)
    assert shape(response) == [("a", "LOW", [1, 2, 5])]
    assert response is not None
    assert response.batches[0].flush_time_unix_nano > NOW
    assert response.batches[0].epoch == "epoch"


def test_a_message_is_bounded_and_channels_take_turns() -> None:
    stream = downstream(events=2)
    for channel in "ab":
        stream.add(channel, Priority.LOW, 0, live=True)
        for offset in (1, 2, 3):
            stream.offer(group(channel, Priority.LOW, offset), NOW)
    assert shape(taken(stream)) == [("a", "LOW", [1, 2])]
    assert shape(taken(stream)) == [("b", "LOW", [1, 2])]
    assert shape(taken(stream)) == [("a", "LOW", [3]), ("b", "LOW", [3])]
    assert taken(stream) is None


def test_a_lane_without_credit_waits_and_no_other_lane_lends() -> None:
    stream = Downstream(LANES, {Priority.LOW: 0, Priority.CRITICAL: 1}, max_message_events=64, max_message_bytes=32_768)
    for lane in LANES:
        stream.add("a", lane, 0, live=True)
    stream.offer(group("a", Priority.LOW, 1), NOW)
    assert taken(stream) is None
    stream.offer(group("a", Priority.CRITICAL, 2), NOW)
    assert shape(taken(stream)) == [("a", "CRITICAL", [2])]
    stream.offer(group("a", Priority.CRITICAL, 3, previous=2), NOW)
    assert taken(stream) is None, "the credit of CRITICAL is spent"
    stream.grant(Priority.LOW, 1)
    assert shape(taken(stream)) == [("a", "LOW", [1])]


def test_the_credit_spent_is_the_size_of_the_batches() -> None:
    size = len(wire.batch(group("a", Priority.LOW, 1).head, group("a", Priority.LOW, 1).events, NOW))
    stream = downstream(credit=2 * size)
    stream.add("a", Priority.LOW, 0, live=True)
    for offset in (1, 2, 3):
        stream.offer(group("a", Priority.LOW, offset), NOW)
        data = stream.take(next(CLOCK))
        if offset < 3:
            assert data is not None
            assert StreamEventsResponse.FromString(data).batches[0].ByteSize() == size
        else:
            assert data is None


def test_an_overflow_is_read_again_from_before_the_queue() -> None:
    stream = downstream(queue=100)
    stream.add("a", Priority.NORMAL, 0, live=True)
    stream.offer(group("a", Priority.NORMAL, 1), NOW)
    assert shape(taken(stream)) == [("a", "NORMAL", [1])]
    stream.offer(group("a", Priority.NORMAL, 2, previous=1), NOW)
    stream.offer(group("a", Priority.NORMAL, 3, previous=2, padding=200), NOW)
    assert taken(stream) is None
    assert list(stream.behind()) == [("a", Priority.NORMAL, 1)]
    assert stream.overflows == 1
    assert not stream.offer(group("a", Priority.NORMAL, 4, previous=3), NOW), (
        "a subscription that is behind reads the log"
    )
    stream.feed(group("a", Priority.NORMAL, 2, 3, 4, previous=1), NOW, after=1)
    stream.go_live("a", Priority.NORMAL)
    assert shape(taken(stream)) == [("a", "NORMAL", [2, 3, 4])]
    assert stream.offer(group("a", Priority.NORMAL, 5, previous=4), NOW)


def test_a_page_for_a_cursor_that_has_moved_is_ignored() -> None:
    stream = downstream()
    stream.add("a", Priority.NORMAL, 3, live=False)
    stream.feed(group("a", Priority.NORMAL, 2), NOW, after=1)
    assert taken(stream) is None


def test_notices_come_first_and_a_skip_moves_the_cursor() -> None:
    stream = downstream()
    stream.add("a", Priority.NORMAL, 3, live=False)
    assert stream.is_recovering("a", Priority.NORMAL)
    response = StreamEventsResponse()
    response.gaps.add(channel="a", from_offset=3, to_offset=7)
    stream.announce(response.SerializeToString())
    stream.skip("a", Priority.NORMAL, 7)
    assert stream.cursor("a", Priority.NORMAL) == 7
    stream.feed(group("a", Priority.NORMAL, 8, previous=7, replayed=True), NOW, after=7)
    stream.go_live("a", Priority.NORMAL)
    message = taken(stream)
    assert message is not None
    assert message.gaps[0].to_offset == 7
    assert message.batches[0].replayed
    assert not stream.is_recovering("a", Priority.NORMAL)


def test_a_removed_channel_leaves_nothing_behind() -> None:
    stream = downstream()
    stream.add("a", Priority.NORMAL, 0, live=True)
    stream.add("b", Priority.NORMAL, 0, live=False)
    stream.offer(group("a", Priority.NORMAL, 1), NOW)
    stream.remove("a")
    stream.remove("b")
    stream.remove("never there")
    assert stream.queued_events == 0
    assert taken(stream) is None
    assert list(stream.behind()) == []


def test_a_fixed_window_is_over_where_the_clock_is_set_back() -> None:
    credit = dict.fromkeys(LANES, 1 << 20)
    stream = Downstream(LANES, credit, max_message_events=64, max_message_bytes=32_768, policy=LEGACY_500MS)
    stream.add("a", Priority.LOW, 0, live=True)
    stream.offer(group("a", Priority.LOW, 1), NOW)
    assert stream.take(NOW + 1) is None
    assert stream.take(NOW - 600 * 10**9) is not None


def test_a_fixed_window_holds_a_batch_until_its_time_or_until_it_is_full() -> None:
    stream = Downstream(LANES, {}, max_message_events=64, max_message_bytes=32_768, policy=LEGACY_500MS)
    stream.add("a", Priority.LOW, 0, live=True)
    stream.offer(group("a", Priority.LOW, 1), NOW)
    stream.offer(group("a", Priority.LOW, 2, previous=1), NOW + 1)
    assert stream.take(NOW + 499_999_999) is None
    assert stream.next_due_ns() == NOW + 500_000_000
    response = StreamEventsResponse.FromString(stream.take(NOW + 500_000_000) or b"")
    assert shape(response) == [("a", "LOW", [1, 2])]
    assert stream.next_due_ns() is None
    stream.offer(group("a", Priority.LOW, *range(3, 1_003), previous=2), NOW)
    assert stream.take(NOW) is not None


def busy(stream: Downstream, lane: Priority) -> int:
    """Use up the lane's allowance of messages at NOW; return the next offset."""
    offset = 1
    while True:
        stream.offer(group("a", lane, offset, previous=offset - 1), NOW)
        if stream.take(NOW) is None:
            return offset
        offset += 1


def test_a_few_events_go_at_once_and_the_next_waits_for_its_linger() -> None:
    stream = downstream()
    stream.add("a", Priority.NORMAL, 0, live=True)
    assert busy(stream, Priority.NORMAL) == 5
    due = stream.next_due_ns()
    assert due == NOW + int(DEFAULT.lanes[Priority.NORMAL].linger_seconds * 1e9)
    assert stream.take(due - 1) is None
    assert stream.take(due) is not None
    stream.offer(group("a", Priority.NORMAL, 6, previous=5), due)
    assert stream.take(due) is None, "from now on one message for each linger"


def test_a_full_batch_and_a_critical_event_never_wait() -> None:
    stream = downstream()
    for lane in (Priority.CRITICAL, Priority.LOW):
        stream.add("a", lane, 0, live=True)
    stream.offer(group("a", Priority.LOW, 1), NOW)
    assert stream.take(NOW) is not None
    stream.offer(group("a", Priority.LOW, *range(2, 66), previous=1), NOW)
    assert stream.take(NOW) is not None, "64 events are a full batch"
    stream.offer(group("a", Priority.CRITICAL, 70), NOW)
    assert stream.take(NOW) is not None


def test_what_is_due_takes_along_what_is_not() -> None:
    stream = downstream()
    for lane in (Priority.CRITICAL, Priority.LOW):
        stream.add("a", lane, 0, live=True)
    waiting = busy(stream, Priority.LOW)
    assert stream.take(NOW) is None
    stream.offer(group("a", Priority.CRITICAL, 70), NOW)
    response = StreamEventsResponse.FromString(stream.take(NOW) or b"")
    assert shape(response) == [("a", "CRITICAL", [70]), ("a", "LOW", [waiting])]


@dataclass
class Reader:
    """What a subscriber of one lane sees."""

    cursor: int
    seen: list[int] = field(default_factory=list)

    def receive(self, response: StreamEventsResponse) -> None:
        for batch in response.batches:
            for event in batch.events:
                assert continuity(self.cursor, event.prev_offset, event.offset) is Continuity.CONTIGUOUS
                self.cursor = event.offset
                self.seen.append(event.offset)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from("ab"), st.integers(1, 3)),
        st.tuples(st.just("take"), st.just(""), st.just(0)),
        st.tuples(st.just("read"), st.just(""), st.integers(1, 4)),
        st.tuples(st.just("credit"), st.just(""), st.integers(1, 400)),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_subscriber_sees_every_event_once_in_order(steps: list[tuple[str, str, int]]) -> None:
    lane = Priority.NORMAL
    log: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
    stream = downstream(credit=150, events=3, queue=160)
    readers = {channel: Reader(0) for channel in log}
    for channel in log:
        stream.add(channel, lane, 0, live=True)
    offset = 0

    def head(channel: str) -> int:
        return log[channel][-1][0] if log[channel] else 0

    def receive() -> bool:
        data = stream.take(next(CLOCK))
        if data is None:
            return False
        response = StreamEventsResponse.FromString(data)
        names = [batch.channel for batch in response.batches]
        assert len(set(names)) == len(names), "at most one batch of a channel and lane in a message"
        for name in names:
            one = StreamEventsResponse(batches=[b for b in response.batches if b.channel == name])
            readers[name].receive(one)
        return True

    def read(limit: int) -> bool:
        for channel, _, cursor in stream.behind():
            page = [item for item in log[channel] if item[0] > cursor][:limit]
            if page:
                offsets = [number for number, _ in page]
                stream.feed(group(channel, lane, *offsets, previous=page[0][1]), NOW, after=cursor)
            if not page or page[-1][0] == head(channel):
                stream.go_live(channel, lane)
            return True
        return False

    for kind, channel, number in steps:
        if kind == "publish":
            previous = first = head(channel)
            offsets = []
            for _ in range(number):
                offset += 1
                log[channel].append((offset, previous))
                previous = offset
                offsets.append(offset)
            stream.offer(group(channel, lane, *offsets, previous=first), NOW)
        elif kind == "take":
            receive()
        elif kind == "read":
            read(number)
        else:
            stream.grant(lane, number)
        assert stream.queued_events <= 12, "queues are bounded"
    stream.grant(lane, 1 << 20)
    while receive() or read(4):
        pass
    for channel, reader in readers.items():
        assert reader.seen == [number for number, _ in log[channel]]
