"""Deduplication window, tail, resumption and registry: small cores, small tests."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given
from hypothesis import strategies as st

from lanecast.ai.v1 import bots_pb2, concierge_pb2
from lanecast.core.position import EpochStart, Lineage, Position
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD, GAP_REASON_EPOCH_UNKNOWN
from publisher_svc.core.dedup import DedupWindow, fingerprint
from publisher_svc.core.registry import RegistryError, TypeRegistry
from publisher_svc.core.resume import Resumption, resume
from publisher_svc.core.sparing import Sparing
from publisher_svc.core.tail import Tail
from publisher_svc.log.base import ChannelLane, Entry

SECOND = 10**9
KEY = ("a", Priority.LOW)


def test_filling_the_window_is_adding_one_by_one() -> None:
    seen = [(fingerprint("a", str(number)), number, number * SECOND) for number in range(300)]
    one, other = DedupWindow(), DedupWindow()
    one.fill(seen)
    for each in seen:
        other.add(*each)
    found = [[window.find(mark) for mark, _, _ in seen] for window in (one, other)]
    assert found[0] == found[1]
    assert found[0][:160] == [None] * 160
    assert found[0][-1] == 299
    assert one.reaches_back_to_ns == other.reaches_back_to_ns <= (299 - 120) * SECOND


def test_events_that_are_stored_in_a_row_are_remembered_as_one_by_one() -> None:
    one, other = DedupWindow(), DedupWindow()
    marks = [fingerprint("a", str(number)) for number in range(600)]
    for first in range(0, 600, 6):
        one.add_all(marks[first : first + 6], first + 1, first * SECOND)
        for offset, mark in enumerate(marks[first : first + 6], first + 1):
            other.add(mark, offset, first * SECOND)
    found = [[window.find(mark) for mark in marks] for window in (one, other)]
    assert found[0] == found[1]
    assert found[0][:400] == [None] * 400
    assert found[0][-6:] == [595, 596, 597, 598, 599, 600]
    assert len(one) == len(other)


def test_a_failure_that_goes_on_is_told_now_and_then_with_how_much_it_was() -> None:
    sparing = Sparing(10)
    assert [sparing.add(3, now) for now in (0.0, 1.0, 9.9, 10.0, 11.0, 25.0)] == [3, 0, 0, 9, 0, 6]


def test_an_id_is_found_for_120_s_and_then_dropped() -> None:
    window = DedupWindow()
    window.add(fingerprint("a", "x"), 1, 0)
    window.add(fingerprint("a", "y"), 2, 119 * SECOND)
    assert window.find(fingerprint("a", "x")) == 1
    assert window.find(fingerprint("b", "x")) is None
    window.add(fingerprint("a", "z"), 3, 131 * SECOND)
    assert window.find(fingerprint("a", "x")) is None
    assert window.find(fingerprint("a", "y")) == 2
    assert len(window) == 2


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    window = DedupWindow()
    window.add(fingerprint("a", "x"), 1, 3_600 * SECOND)
    window.add(fingerprint("a", "y"), 2, 0)
    assert (window.find(fingerprint("a", "x")), window.find(fingerprint("a", "y"))) == (1, 2)


def test_an_id_taken_back_is_unknown() -> None:
    window = DedupWindow()
    window.add(fingerprint("a", "x"), 1, 0)
    window.forget(fingerprint("a", "x"))
    assert window.find(fingerprint("a", "x")) is None


def stored(key: ChannelLane, offset: int, prev_offset: int, data: bytes) -> Entry:
    entry = Entry(*key, "", data, 0)
    entry.offset, entry.prev_offset = offset, prev_offset
    return entry


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 300)), max_size=60), st.integers(0, 60), st.integers(1, 5)
)
def test_the_tail_agrees_with_the_log_or_says_it_does_not_know(
    published: list[tuple[str, int]], after: int, limit: int
) -> None:
    tail = Tail(max_bytes=4_000)
    heads = {"a": 0, "b": 0}
    log: list[tuple[str, int, int]] = []
    for offset, (channel, size) in enumerate(published, 1):
        tail.add([stored((channel, Priority.LOW), offset, heads[channel], bytes(size))])
        log.append((channel, offset, heads[channel]))
        heads[channel] = offset
        assert tail.size_bytes <= 4_000
    for channel, head in heads.items():
        found = tail.read((channel, Priority.LOW), after, head, limit)
        expected = [(o, p) for c, o, p in log if c == channel and o > after][:limit]
        if found is None:
            assert expected, "an empty answer is always known"
        else:
            assert [(o, p) for o, p, _ in found] == expected


def test_the_tail_does_not_know_what_it_never_held() -> None:
    tail = Tail()
    assert tail.read(KEY, 0, 5, 10) is None
    tail.add([stored(KEY, 6, 5, b"")])
    assert tail.read(KEY, 0, 6, 10) is None
    assert tail.read(KEY, 5, 6, 10) == [(6, 5, b"")]
    assert tail.read(KEY, 6, 6, 10) == []


LINEAGE = Lineage([EpochStart("old", 1), EpochStart("new", 101)])


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (Position("new", 150), Resumption(150)),
        (Position("old", 50), Resumption(50)),
        (Position("old", 100), Resumption(100)),
        (Position("", 0), Resumption(0)),
        # It had seen 120 in an epoch whose events from 101 on a crash undid.
        (Position("old", 120), Resumption(100, GAP_REASON_AHEAD)),
        (Position("new", 201), Resumption(200, GAP_REASON_AHEAD)),
        (Position("other", 7), Resumption(0, GAP_REASON_EPOCH_UNKNOWN)),
    ],
)
def test_where_a_reader_goes_on(position: Position, expected: Resumption) -> None:
    assert resume(position, LINEAGE, end_offset=200) == expected


def test_the_registry_knows_types_by_any_prefix() -> None:
    registry = TypeRegistry()
    registry.add_file(concierge_pb2.DESCRIPTOR)
    assert registry.find("type.googleapis.com/lanecast.ai.v1.ConciergeInsight") is not None
    assert registry.find("lanecast.ai.v1.ConciergeInsight") is not None
    assert registry.find("lanecast.ai.v1.BotHandoff") is None
    before = registry.version
    registry.add_file(bots_pb2.DESCRIPTOR)
    assert registry.version != before
    assert "lanecast.ai.v1.BotHandoff" in registry.names
    assert {"google/protobuf/timestamp.proto", "lanecast/ai/v1/bots.proto"} <= {
        f.name for f in registry.descriptors.file
    }


def own_type(name: str, *, package: str = "own", dependency: str = "") -> descriptor_pb2.FileDescriptorSet:
    file = descriptor_pb2.FileDescriptorProto(name="own.proto", package=package, syntax="proto3")
    file.message_type.add(name=name)
    if dependency:
        file.dependency.append(dependency)
    return descriptor_pb2.FileDescriptorSet(file=[file])


def test_the_registry_loads_an_operators_types() -> None:
    registry = TypeRegistry()
    registry.load(own_type("Thing"))
    registry.load(own_type("Thing"))
    assert registry.names == ["own.Thing"]
    with pytest.raises(RegistryError, match="rename the file"):
        registry.load(own_type("Other"))
    with pytest.raises(RegistryError, match="include its imports"):
        TypeRegistry().load(own_type("Thing", dependency="missing.proto"))
