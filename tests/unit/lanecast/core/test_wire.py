"""Every spliced byte against the generated classes."""

from __future__ import annotations

from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import wire
from lanecast.core.priority import LANES, Priority
from lanecast.internal.v1.stream_pb2 import StreamEventsResponseView
from lanecast.v1.event_pb2 import Event, EventBatch
from lanecast.v1.gateway_pb2 import ServerFrame
from lanecast.v1.publisher_pb2 import StreamEventsResponse

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NUMBERS = st.integers(0, 2**64 - 1)
POSITIVE = st.integers(1, 2**64 - 1)


@st.composite
def events(draw: st.DrawFn) -> Event:
    event = Event(
        id=draw(NAMES), source=draw(NAMES), channel="a", priority=Priority.LOW.wire_value,
        offset=draw(NUMBERS), prev_offset=draw(NUMBERS), accept_time_unix_nano=draw(NUMBERS),
        store_time_unix_nano=draw(NUMBERS),
    )  # fmt: skip
    event.data.Pack(ConciergeInsight(text=draw(NAMES)))
    return event


def data_of(messages: list[Event]) -> list[bytes]:
    return [message.SerializeToString() for message in messages]


def same(data: bytes, expected: Message) -> None:
    assert type(expected).FromString(data) == expected


@given(NUMBERS)
def test_a_varint_is_what_protobuf_writes(value: int) -> None:
    expected = EventBatch(generation=value).SerializeToString()
    assert (expected[1:] or b"\0") == wire.varint(value)


@given(events(), POSITIVE, NUMBERS, POSITIVE, POSITIVE)
def test_a_position_is_written_as_protobuf_would(
    event: Event, offset: int, previous: int, accepted: int, stored: int
) -> None:
    for name in ("offset", "prev_offset", "accept_time_unix_nano", "store_time_unix_nano"):
        event.ClearField(name)
    data = event.SerializeToString() + wire.event_position(offset, previous, accepted) + wire.event_store_time(stored)
    event.offset, event.prev_offset = offset, previous
    event.accept_time_unix_nano, event.store_time_unix_nano = accepted, stored
    same(data, event)
    assert len(data) == event.ByteSize(), "credit is counted in this size, on both sides"


@given(events(), NUMBERS)
def test_a_store_time_replaces_the_one_before(event: Event, stored: int) -> None:
    data = event.SerializeToString() + wire.event_store_time(stored)
    event.store_time_unix_nano = stored
    same(data, event)


@given(
    NAMES, st.sampled_from(LANES), NAMES, NAMES, st.lists(events(), min_size=1, max_size=5), NUMBERS, NUMBERS, NUMBERS
)
def test_batches_and_frames_are_what_the_generated_classes_would_say(
    channel: str, lane: Priority, epoch: str, policy: str, content: list[Event], flushed: int, received: int, sent: int
) -> None:
    head = wire.batch_head(channel, lane, epoch, policy)
    live = EventBatch(channel=channel, lane=lane.wire_value, epoch=epoch, policy=policy, events=content)
    replayed = EventBatch()
    replayed.CopyFrom(live)
    replayed.replayed = True
    live.flush_time_unix_nano = flushed
    same(wire.batch(head, data_of(content), flushed), live)
    same(wire.replayed_batch(head, data_of(content)), replayed)

    batches = wire.batch(head, data_of(content), flushed), wire.replayed_batch(head, data_of(content))
    response = StreamEventsResponse(batches=[live, replayed])
    same(b"".join(map(wire.stream_batch, batches)), response)

    one = EventBatch()
    one.CopyFrom(live)
    del one.events[1:]
    one.flush_time_unix_nano = flushed or 1
    parts = [b""]
    size = wire.lone_batch(parts, head, content[0].SerializeToString(), wire.batch_flush_time(flushed or 1))
    data = b"".join(parts)
    same(data, StreamEventsResponse(batches=[one]))
    assert [len(raw) for raw in StreamEventsResponseView.FromString(data).batches] == [size]

    trailer = wire.batch_edge_times(received, sent)
    live.edge_receive_time_unix_nano, live.edge_send_time_unix_nano = received, sent
    same(wire.frame_events(len(batches[0] + trailer)) + batches[0] + trailer, ServerFrame(events=live))
    same(wire.frame_events(len(batches[1])) + batches[1], ServerFrame(events=replayed))
