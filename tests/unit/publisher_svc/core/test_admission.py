from __future__ import annotations

import pytest

from lanecast.ai.v1 import concierge_pb2
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.core.admission import LoadLimit, ProducerOrder, Refusal, check_event, not_stored
from publisher_svc.core.registry import TypeRegistry

URL = "type.googleapis.com/lanecast.ai.v1.ConciergeInsight"


@pytest.fixture(scope="module")
def registry() -> TypeRegistry:
    registry = TypeRegistry()
    registry.add_file(concierge_pb2.DESCRIPTOR)
    return registry


def event(**changes: object) -> Event:
    made = Event(channel="agent:42", priority=Priority.HIGH.wire_value)
    made.data.Pack(concierge_pb2.ConciergeInsight(text="hello"))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def with_data(url: str, value: bytes) -> Event:
    made = event()
    made.data.type_url = url
    made.data.value = value
    return made


def test_a_good_event_passes(registry: TypeRegistry) -> None:
    assert check_event(event(), registry) is None
    assert check_event(event(id="é" * 32, trace_context=bytes(25), conflation_key="k"), registry) is None
    assert check_event(with_data(f"example.org/{URL.rpartition('/')[2]}", b""), registry) is None


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (event(channel=""), "CHANNEL_INVALID"),
        (event(channel="a\nb"), "CHANNEL_INVALID"),
        (event(channel="a*"), "CHANNEL_INVALID"),
        (event(channel="c" * 256), "CHANNEL_INVALID"),
        (event(priority=0), "LANE_UNKNOWN"),
        (event(priority=9), "LANE_UNKNOWN"),
        (event(id="i" * 65), "ID_TOO_LONG"),
        (event(id="é" * 33), "ID_TOO_LONG"),
        (event(source="s" * 129), "SOURCE_TOO_LONG"),
        (event(conflation_key="k" * 65), "CONFLATION_KEY_TOO_LONG"),
        (event(trace_context=b"short"), "TRACE_CONTEXT_INVALID"),
        (Event(channel="a", priority=Priority.LOW.wire_value), "TYPE_UNKNOWN"),
        (with_data("type.googleapis.com/no.such.Type", b""), "TYPE_UNKNOWN"),
        (with_data(URL, b"\xff\xff\xff"), "PAYLOAD_UNPARSABLE"),
        (with_data(URL, bytes(64 * 1024 + 1)), "PAYLOAD_TOO_LARGE"),
    ],
)
def test_a_bad_event_is_refused_for_good_and_told_why(registry: TypeRegistry, wrong: Event, reason: str) -> None:
    refusal = check_event(wrong, registry)
    assert refusal is not None
    assert (refusal.code, refusal.reason, refusal.retry_delay_millis) == (3, reason, 0)
    assert ":" in refusal.message, "what is wrong, then what to do"


def test_low_is_refused_first_and_critical_last() -> None:
    limit = LoadLimit(max_events=100, max_bytes=1_000_000)
    refused_at: dict[Priority, int] = {}
    for count in range(101):
        for lane in Priority:
            if limit.refuse(lane) is not None:
                refused_at.setdefault(lane, count)
        limit.add(10)
    order = [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.CRITICAL]
    assert sorted(refused_at, key=lambda lane: refused_at[lane]) == order
    assert refused_at[Priority.CRITICAL] == 100
    refusal = limit.refuse(Priority.CRITICAL)
    assert refusal is not None
    assert (refusal.code, refusal.retry_delay_millis) == (8, 100)


def test_bytes_count_as_well_and_room_comes_back() -> None:
    limit = LoadLimit(max_events=100, max_bytes=1_000)
    limit.add(1_000)
    assert limit.refuse(Priority.CRITICAL) is not None
    limit.remove(1_000)
    assert limit.refuse(Priority.LOW) is None


def test_what_follows_a_refusal_waits_until_it_comes_again() -> None:
    order = ProducerOrder()
    first, second = event(id="1"), event(id="2")
    other = event(id="3", channel="agent:7")
    order.settle(first.channel, first.priority, first.id, not_stored("full"))
    assert not order.passes(second)
    assert order.passes(other)
    order.settle(second.channel, second.priority, second.id, Refusal(10, "OUT_OF_ORDER", "", 1))
    assert not order.passes(second), "the fence stays with the first"
    assert order.passes(first)
    assert order.passes(second), "the first was sent again: what is behind it may follow in the same message"


def test_an_event_that_is_refused_again_is_waited_for_again() -> None:
    order = ProducerOrder()
    first, second = event(id="1"), event(id="2")
    for _ in range(2):
        order.settle(first.channel, first.priority, first.id, not_stored("full"))
        assert not order.passes(second)
        assert order.passes(first)


def test_a_refusal_for_good_does_not_fence() -> None:
    order = ProducerOrder()
    order.settle("agent:42", 2, "1", Refusal(3, "TYPE_UNKNOWN", ""))
    assert order.passes(event(id="2"))
