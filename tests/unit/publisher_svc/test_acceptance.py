"""Events in the ordinary form are taken as they are; whatever they say is what a parsed event would say."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from lanecast.ai.v1 import concierge_pb2
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import LANES, Priority
from lanecast.internal.v1.stream_pb2 import PublishEventStreamRequestView
from lanecast.publisher.core.encoding import EventEncoder, publish_message, route_prefix
from lanecast.v1.event_pb2 import Event
from publisher_svc.acceptance import EventReader, Waiting
from publisher_svc.core import admission
from publisher_svc.core.registry import TypeRegistry

NOW = 1_700_000_000_000_000_000
REGISTRY = TypeRegistry()
REGISTRY.add_file(concierge_pb2.DESCRIPTOR)
TRACE = bytes(range(1, 25))


def encoded(
    event_id: str = "an-id",
    channel: str = "agent:1",
    lane: Priority = Priority.LOW,
    text: str = "hello",
    *,
    ttl: float | None = None,
    key: str = "",
    trace: bytes = b"",
) -> bytes:
    """Return an event as the SDK puts it into a message."""
    route = route_prefix(channel, lane)
    event = EventEncoder().encode(event_id, route, ConciergeInsight(text=text), NOW, ttl, key, trace)
    return PublishEventStreamRequestView.FromString(publish_message(1, [event], NOW + 1)).publish.events[0]


def read(reader: EventReader, data: bytes, source: str = "") -> Waiting | Event:
    [found] = reader.read([data], source, NOW + 2)
    return found


def trained(*channels: str) -> EventReader:
    """Return a reader that knows the channels and the type."""
    reader = EventReader(REGISTRY)
    for channel in channels:
        for lane in LANES:
            read(reader, encoded(channel=channel, lane=lane))
    return reader


def check(waiting: Waiting, data: bytes) -> None:
    """Hold what was read against the parsed event."""
    event = Event.FromString(waiting.data)
    assert admission.check_event(event, REGISTRY) is None
    assert (waiting.channel, waiting.lane, waiting.event_id) == (event.channel, event.priority, event.id)
    assert (waiting.channel, waiting.priority, waiting.id) == (event.channel, event.priority, event.id)
    assert event.ByteSize() == len(waiting.data) == waiting.size, "credit is counted in this size, on both sides"
    assert not any((event.offset, event.prev_offset, event.accept_time_unix_nano, event.store_time_unix_nano))
    assert not event.ttl_millis, "such an event has an end"
    event.ClearField("source")
    assert event == Event.FromString(data)


def test_the_first_of_a_channel_is_parsed_and_those_after_it_are_taken_as_they_are() -> None:
    reader = EventReader(REGISTRY)
    first, second = encoded("one"), encoded("two")
    parsed = read(reader, first)
    assert isinstance(parsed, Event)
    assert parsed == Event.FromString(first)
    taken = read(reader, second)
    assert isinstance(taken, Waiting)
    assert (taken.data, taken.accept_ns) == (second, NOW + 2)
    check(taken, second)


@pytest.mark.parametrize(
    "data",
    [
        encoded(ttl=1.0),
        encoded(key="k"),
        encoded(trace=TRACE + b"\x01"),
        encoded(""),
        encoded("i" * 64) + b"\x12\x01s",
        encoded(text=""),
        encoded(text="x" * 20_000),
        encoded(lane=Priority.HIGH, channel="another"),
        encoded() + Event(offset=5).SerializeToString(),
        encoded() + Event(id="another").SerializeToString(),
        Event.FromString(encoded()).SerializeToString(),
    ],
)
def test_anything_else_is_parsed(data: bytes) -> None:
    found = read(trained("agent:1"), data)
    assert isinstance(found, Event)
    assert found == Event.FromString(data)


def test_a_trace_that_is_not_recorded_is_no_hindrance() -> None:
    data = encoded(trace=TRACE + b"\x00")
    taken = read(trained("agent:1"), data)
    assert isinstance(taken, Waiting)
    check(taken, data)


def test_a_payload_that_is_none_of_its_type_is_parsed_to_be_refused() -> None:
    reader, good = trained("agent:1"), encoded(text="hello")
    bad = good.replace(b"hello", b"hel\xff\xff")
    found = read(reader, bad)
    assert isinstance(found, Event)
    refusal = admission.check_event(found, REGISTRY)
    assert refusal is not None
    assert refusal.reason == "PAYLOAD_UNPARSABLE"


def test_reserved_and_bad_channels_are_never_taken_as_they_are() -> None:
    reader = EventReader(REGISTRY)
    for channel in ("$lanecast:test", "bad*", "x" * 256):
        event = Event.FromString(encoded())
        data = encoded().replace(b"\x1a\x07agent:1", Event(channel=channel).SerializeToString())
        event.channel = channel
        for _ in range(2):
            assert read(reader, data) == event


def test_the_source_of_the_stream_is_added() -> None:
    reader, data = trained("agent:1"), encoded()
    taken = read(reader, data, "concierge")
    assert isinstance(taken, Waiting)
    assert Event.FromString(taken.data).source == "concierge"
    check(taken, data)
    assert isinstance(read(reader, data, "s" * 129), Event), "it may be too long: that is for the checks to say"


def test_what_is_no_event_is_an_error() -> None:
    for data in (b"\xff", encoded()[:-1], encoded().replace(b"agent", b"ag\xffnt")):
        with pytest.raises(DecodeError):
            read(trained("agent:1"), data)


@given(
    st.text(max_size=70), st.sampled_from(["agent:1", "é" * 60, "x" * 127, "x" * 128]), st.sampled_from(LANES),
    st.text(max_size=300), st.sampled_from(["", "concierge"]),
)  # fmt: skip
def test_what_is_taken_says_what_was_sent(event_id: str, channel: str, lane: Priority, text: str, source: str) -> None:
    if len(event_id.encode()) > 64:
        return
    data = encoded(event_id, channel, lane, text)
    taken = read(trained(channel), data, source)
    ordinary = event_id != "" and text != "" and len(channel.encode()) < 128
    assert isinstance(taken, Waiting) == ordinary
    if isinstance(taken, Waiting):
        check(taken, data)


READER = trained("agent:1")


@given(st.data())
def test_no_damage_makes_it_say_something_else(data: st.DataObject) -> None:
    event = bytearray(encoded(text="hello " * data.draw(st.sampled_from([1, 40]))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(event)))
        how = data.draw(st.sampled_from(["change", "cut", "insert", "repeat"]))
        if how == "change" and at < len(event):
            event[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del event[at : at + data.draw(st.integers(1, 12))]
        elif how == "insert":
            event[at:at] = data.draw(st.binary(min_size=1, max_size=12))
        else:
            event[at:at] = event[at : at + data.draw(st.integers(1, 20))]
    try:
        found = read(READER, bytes(event))
    except DecodeError:
        with pytest.raises(DecodeError):
            Event.FromString(bytes(event))
        return
    if isinstance(found, Waiting):
        check(found, bytes(event))
