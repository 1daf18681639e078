"""Hand-written event bytes against the generated classes, and the refusals that need no service."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pb2 import UninterpretedOption
from hypothesis import given
from hypothesis import strategies as st

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import LANES, Priority
from lanecast.core.wire import varint
from lanecast.errors import PublishError
from lanecast.publisher.core.encoding import (
    SEND_STAMP_BYTES,
    EventEncoder,
    check_lane,
    publish_message,
    route_prefix,
)
from lanecast.v1.event_pb2 import Event
from lanecast.v1.publisher_pb2 import PublishEventStreamRequest

STAMP = 1_790_000_000_000_000_000


def parsed(*events: bytes) -> list[Event]:
    """Return encoded events as the service reads them, without their send time."""
    message = PublishEventStreamRequest.FromString(publish_message(1, list(events), STAMP)).publish
    for event in message.events:
        assert event.send_time_unix_nano == STAMP
        event.ClearField("send_time_unix_nano")
    return list(message.events)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
NANOS = st.integers(0, 2**63)


@given(
    event_id=st.text("abc-é", max_size=30),
    channel=st.text("agent:42é", min_size=1, max_size=100),
    lane=st.sampled_from(LANES),
    text=TEXT,
    created=NANOS,
    ttl=st.none() | st.integers(1, 2**32 - 1).map(lambda millis: millis / 1000),
    key=st.text("key", max_size=64),
    trace=st.just(b"") | st.binary(min_size=25, max_size=25),
)
def test_an_encoded_event_is_what_the_generated_class_would_say(
    event_id: str, channel: str, lane: Priority, text: str, created: int, ttl: float | None, key: str, trace: bytes
) -> None:
    insight = ConciergeInsight(text=text)
    data = EventEncoder().encode(event_id, route_prefix(channel, lane), insight, created, ttl, key, trace)
    expected = Event(
        id=event_id, channel=channel, priority=lane.wire_value, create_time_unix_nano=created, conflation_key=key,
        ttl_millis=0 if ttl is None else round(ttl * 1000), trace_context=trace,
    )  # fmt: skip
    expected.data.Pack(insight)
    assert parsed(data) == [expected]


@given(first=st.integers(1, 2**40), texts=st.lists(TEXT, min_size=1, max_size=20), sent=NANOS)
def test_a_publish_message_is_what_the_generated_class_would_say(first: int, texts: list[str], sent: int) -> None:
    encoder, route = EventEncoder(), route_prefix("a", Priority.LOW)
    events = [encoder.encode("1", route, ConciergeInsight(text=text), 5) for text in texts]
    message = PublishEventStreamRequest.FromString(publish_message(first, events, sent)).publish
    assert message.first_sequence == first
    for data, event in zip(events, message.events, strict=True):
        (expected,) = parsed(data)
        expected.send_time_unix_nano = sent
        assert event == expected
        assert event.ByteSize() <= len(data) + SEND_STAMP_BYTES


@given(st.integers(0, 2**21))
def test_a_length_is_a_varint(size: int) -> None:
    message = Event.FromString(b"\x38" + varint(size))
    assert message.ttl_millis == size


def test_a_packed_any_is_published_as_it_is() -> None:
    packed = Any(type_url="example.com/some.Type", value=b"abc")
    (event,) = parsed(EventEncoder().encode("1", route_prefix("a", Priority.LOW), packed, 5))
    assert event.data == packed


@pytest.mark.parametrize("size", [0, 100, 127, 128, 4_000, 4_096, 16_300, 16_384, 65_000])
def test_payloads_of_any_size_are_framed(size: int) -> None:
    encoder, route, insight = EventEncoder(), route_prefix("a", Priority.LOW), ConciergeInsight(text="x" * size)
    events = [encoder.encode(name, route, insight, 5) for name in ("1", "é" * 32, "")]
    assert [(event.id, event.data.value) for event in parsed(*events)] == [
        (name, insight.SerializeToString()) for name in ("1", "é" * 32, "")
    ]


@pytest.mark.parametrize("priority", [Priority.HIGH, 2, "HIGH", "high", "PRIORITY_HIGH"])
def test_a_lane_may_be_given_by_number_or_name(priority: Priority | int | str) -> None:
    assert check_lane(priority) is Priority.HIGH


@pytest.mark.parametrize("priority", [0, 5, "URGENT", ""])
def test_an_unknown_lane_is_refused(priority: int | str) -> None:
    with pytest.raises(PublishError, match=r"use Priority\.CRITICAL") as caught:
        check_lane(priority)
    assert caught.value.reason == "LANE_UNKNOWN"


@pytest.mark.parametrize("channel", ["", "a*", "a>b", "x" * 256, "a\nb", None])
def test_a_bad_channel_is_refused(channel: str) -> None:
    with pytest.raises(PublishError) as caught:
        route_prefix(channel, Priority.LOW)
    assert caught.value.reason == "CHANNEL_INVALID"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"event_id": "é" * 33}, "ID_TOO_LONG"),
        ({"message": ConciergeInsight(text="x" * 70_000)}, "PAYLOAD_TOO_LARGE"),
        ({"message": "no message"}, "PAYLOAD_UNPARSABLE"),
        ({"message": UninterpretedOption.NamePart()}, "PAYLOAD_UNPARSABLE"),
        ({"ttl": 0.0}, "TTL_INVALID"),
        ({"ttl": -1.0}, "TTL_INVALID"),
        ({"ttl": 1e9}, "TTL_INVALID"),
        ({"conflation_key": "k" * 65}, "CONFLATION_KEY_TOO_LONG"),
        ({"trace_context": b"short"}, "TRACE_CONTEXT_INVALID"),
    ],
)
def test_a_malformed_event_is_refused_at_once(arguments: dict[str, object], reason: str) -> None:
    parts: dict[str, object] = {
        "event_id": "1", "route": route_prefix("a", Priority.LOW), "message": ConciergeInsight(),
        "create_time_unix_nano": 5, **arguments,
    }  # fmt: skip
    with pytest.raises(PublishError) as caught:
        EventEncoder().encode(**parts)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.reason) == (3, reason)


def test_the_limit_of_the_service_is_kept() -> None:
    encoder = EventEncoder(max_payload_bytes=10)
    route = route_prefix("a", Priority.LOW)
    encoder.encode("1", route, ConciergeInsight(text="x" * 8), 5)
    with pytest.raises(PublishError, match="send at most 10"):
        encoder.encode("1", route, ConciergeInsight(text="x" * 9), 5)
