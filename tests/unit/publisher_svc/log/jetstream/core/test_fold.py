"""What the messages of a stream mean: packing, heads, repetitions, readers that start in the middle."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.log.base import Entry, LogError
from publisher_svc.log.jetstream.core import layout
from publisher_svc.log.jetstream.core.fold import LogFold, Warming
from publisher_svc.log.jetstream.core.packing import Message, View, entry_of, pack, unpack
from publisher_svc.log.jetstream.core.window import SETTLING_NS

SECOND = 10**9
KEY = ("a", Priority.NORMAL)


def entry(channel: str, event_id: str, lane: Priority = Priority.NORMAL) -> Entry:
    event = Event(id=event_id, channel=channel, priority=lane.wire_value)
    return Entry(channel, lane, event_id, event.SerializeToString(), 1_000)


def message(sequence: int, *entries: Entry, time_ns: int = 0, view: View | None = None) -> Message:
    view = view or View(lambda key: 0, 0)
    subject = layout.subject_of("t.log", layout.partition_of(entries[0].channel, 4), entries[0].lane)
    return unpack(subject, sequence, time_ns, pack(entries, view))


def fold(warming: Warming | None = None) -> LogFold:
    return LogFold(warming, lambda found, record: entry_of(found, record, 2_000, 5_000_000))


def test_what_is_packed_comes_out() -> None:
    made = [entry("a", "1"), entry("b", "2"), entry("a", "3")]
    found = message(5, *made, view=View(lambda key: 17 if key == KEY else 0, 99))
    assert [found.channels[record.channel] for record in found.records] == ["a", "b", "a"]
    assert [record.event for record in found.records] == [each.data for each in made]
    assert [record.prev_offset for record in found.records] == [17, 0, 17]
    assert (found.read_through, found.lane) == (99, Priority.NORMAL)


def test_the_time_to_live_runs_on_with_another_publisher() -> None:
    made = entry("a", "1")
    made.ends_ns = 4_000_000  # on the writer's monotonic clock, 3 ms behind its wall clock less the accept time
    found = message(1, made, view=View(lambda key: 0, 0, ahead_ns=1_001_000))
    assert found.records[0].ttl_millis == 5
    assert entry_of(found, found.records[0], wall_ns=2_001_000, monotonic_ns=0).ends_ns == 3_000_000


@pytest.mark.parametrize("subject", ["t.log.1.NORMALLY", "t.log", "NORMAL"])
def test_a_message_of_somebody_else_is_named(subject: str) -> None:
    with pytest.raises(LogError, match="message 7"):
        unpack(subject, 7, 0, b"")


def test_a_damaged_message_is_named() -> None:
    with pytest.raises(LogError, match="message 7"):
        unpack("t.log.1.NORMAL", 7, 0, b"\xff\xff\xff")
    with pytest.raises(LogError, match="message 7"):
        unpack("t.log.1.NORMAL", 7, 0, bytes.fromhex("12 04 08 05 12 00"))  # channel 5 of none


def test_too_many_events_for_a_message() -> None:
    with pytest.raises(ValueError, match="1025"):
        pack([entry("a", str(n)) for n in range(1025)], View(lambda key: 0, 0))


def test_own_entries_get_their_positions() -> None:
    reader, made = fold(), [entry("a", "1"), entry("a", "2")]
    assert reader.read(message(3, *made), made) == made
    assert [(each.offset, each.prev_offset) for each in made] == [(3072, 0), (3073, 3072)]
    event = Event.FromString(made[1].data)
    assert (event.offset, event.prev_offset, event.accept_time_unix_nano) == (3073, 3072, 1_000)


def test_a_copy_in_another_lane_is_a_repetition() -> None:
    reader = fold()
    reader.read(message(1, entry("a", "1", Priority.LOW)))
    again = entry("a", "1", Priority.HIGH)
    assert reader.read(message(2, again), [again]) == []
    assert (again.duplicate, again.offset) == (True, 1024)
    assert reader.is_repeated(2048)
    assert not reader.is_repeated(1024)


def test_a_reader_that_starts_in_the_middle_writes_its_floor() -> None:
    reader = fold()
    reader.begin_at(41)
    [first] = reader.read(message(42, entry("a", "1")))
    assert first.prev_offset == reader.floor == layout.last_offset_of(41)
    assert reader.head(("b", Priority.LOW)) == reader.floor
    [second] = reader.read(message(43, entry("a", "2")))
    assert second.prev_offset == first.offset


def test_warming_serves_nothing_and_raises_the_floor() -> None:
    reader = fold(Warming(SETTLING_NS))
    assert reader.read(message(9, entry("a", "1"), time_ns=0)) == []
    assert reader.head(KEY) == layout.last_offset_of(9)
    assert reader.read(message(10, entry("a", "1"), time_ns=SECOND)) == []
    [new] = reader.read(message(11, entry("a", "2"), time_ns=SETTLING_NS))
    assert new.prev_offset == layout.last_offset_of(10)


offsets = st.integers(1, 2**50)


@given(offsets)
def test_offsets_and_back(offset: int) -> None:
    sequence = layout.sequence_of(offset)
    assert layout.first_offset_of(sequence) + layout.index_of(offset) == offset
    assert layout.first_offset_of(sequence) <= offset <= layout.last_offset_of(sequence)


@given(st.text(min_size=1, max_size=20), st.sampled_from(LANES), st.integers(1, 1024))
def test_a_channel_has_one_place(channel: str, lane: Priority, partitions: int) -> None:
    queue = layout.queue_of((channel, lane), partitions)
    assert layout.queue_place(queue) == (layout.partition_of(channel, partitions), lane)
    assert layout.lane_of(layout.subject_of("x", *layout.queue_place(queue))) is lane


def test_the_partition_of_a_channel_is_part_of_the_format() -> None:
    assert [layout.partition_of(name, 16) for name in ("agent:42", "bots:handoffs", "ä")] == [5, 14, 4]
    assert layout.mark_of("a", "1").hex() == "cbfffe3bc7ac333f71cb35e1fbdcae50"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(LANES), st.lists(st.integers(0, 9), min_size=1, max_size=4)),
        min_size=1, max_size=20,
    ),
    st.integers(0, 20), st.integers(0, 60),
)  # fmt: skip
def test_every_reader_sees_the_same_events_at_the_same_offsets(
    written: list[tuple[str, Priority, list[int]]], start: int, step: int
) -> None:
    """One reads from the first message on and owns none, one owns all, one starts in the middle."""
    whole, owner, late = fold(), fold(), fold(Warming(start * step * SECOND + SETTLING_NS))
    seen: dict[str, list[tuple[int, str]]] = {"whole": [], "owner": [], "late": []}
    late_floor = None
    for sequence, (channel, lane, ids) in enumerate(written, 1):
        entries = [entry(channel, str(number), lane) for number in ids]
        made = message(sequence, *entries, time_ns=(sequence - 1) * step * SECOND)
        seen["whole"] += [(e.offset, Event.FromString(e.data).id) for e in whole.read(made)]
        seen["owner"] += [(e.offset, e.event_id) for e in owner.read(made, entries)]
        if sequence > start:
            if sequence == start + 1:
                late.begin_at(start)
            seen["late"] += [(e.offset, Event.FromString(e.data).id) for e in late.read(made)]
            if late.is_warm and late_floor is None:
                late_floor = late.floor
    assert seen["whole"] == seen["owner"]
    assert seen["late"] == [each for each in seen["whole"] if late_floor is not None and each[0] > late_floor]
    assert whole.heads() == owner.heads()
