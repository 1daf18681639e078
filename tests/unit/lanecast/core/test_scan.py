"""Whatever is scanned instead of parsed says what the generated classes say, or nothing."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from lanecast.core import scan, wire
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event, EventBatch

NUMBERS = st.integers(0, 2**64 - 1)
POSITIVE = st.integers(1, 2**64 - 1)
HEAD = wire.batch_head("agent:1", 3, "epoch", "default")


@st.composite
def sent(draw: st.DrawFn) -> Event:
    """What an SDK sends; to some the log's fields belong already, which the publisher takes out."""
    event = Event(
        id=draw(st.text("ab-", max_size=64)),
        source=draw(st.text("ab-", max_size=128)),
        channel="agent:1",
        priority=Priority.NORMAL.wire_value,
        create_time_unix_nano=draw(NUMBERS),
        send_time_unix_nano=draw(NUMBERS),
        ttl_millis=draw(st.sampled_from([0, 1, 127, 128, 100_000, 2**32 - 1])),
        conflation_key=draw(st.text("ab-", max_size=64)),
        trace_context=draw(st.sampled_from([b"", b"t" * 25])),
    )
    event.data.type_url = draw(st.sampled_from(["type.googleapis.com/x", "", "/" * 127, "/" * 128]))
    event.data.value = draw(st.binary(max_size=20)) * draw(st.sampled_from([0, 1, 13, 1_000]))
    return event


@given(sent(), POSITIVE, POSITIVE, NUMBERS, NUMBERS, POSITIVE)
def test_a_lone_live_event_is_recognised_and_said_right(
    event: Event, offset: int, prev: int, accepted: int, stored: int, flushed: int
) -> None:
    data = event.SerializeToString() + wire.event_position(offset, prev, accepted) + wire.event_store_time(stored)
    raw = wire.batch(HEAD, [data], flushed)
    tail = scan.lone_event(raw, HEAD)
    if not 0x80 <= len(data) < 0x4000:
        assert tail is None
        return
    assert tail is not None
    assert tail[1::2][:3] == (offset, prev, accepted)
    assert scan.later_stamps(raw) == (stored, flushed)
    said = scan.sender(raw, scan.address("agent:1", 3), len(HEAD) + 2)
    if not (event.create_time_unix_nano and event.send_time_unix_nano):
        assert said is None
    elif said is not None and len(event.data.type_url) < 128:
        url, trace, at = said
        assert url.decode() == event.data.type_url
        assert trace == event.trace_context
        assert scan.stamps(raw, at) == (event.create_time_unix_nano, event.send_time_unix_nano)
    else:
        assert not 0 < len(event.data.type_url) < 128


@given(
    st.lists(sent(), min_size=1, max_size=2), st.sampled_from([0, 7]), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from(["", "default", "other"]), st.binary(max_size=12),
)  # fmt: skip
@example([Event()], 7, True, False, False, "default", b"")
def test_whatever_is_recognised_is_right_and_other_batches_are_not_recognised(
    events: list[Event], prev: int, is_stored: bool, is_replayed: bool, is_shuffled: bool, policy: str, rest: bytes
) -> None:
    made = []
    for number, event in enumerate(events):
        data = event.SerializeToString() + wire.event_position(9 + number, prev and prev + number, 5)
        made.append(data + wire.event_store_time(6) if is_stored else data)
    head = wire.batch_head("agent:1", 3, "epoch", policy)
    raw = wire.replayed_batch(head, made) if is_replayed else wire.batch(head, made, 8)
    if is_shuffled:
        raw = EventBatch.FromString(raw).SerializeToString()  # in the order of the fields' numbers
    raw += rest
    tail = scan.lone_event(raw, HEAD)
    if tail is not None:
        parsed = EventBatch.FromString(raw)
        assert policy == "default"
        assert not rest
        assert not parsed.replayed
        (only,) = parsed.events
        assert tail[1::2][:3] == (only.offset, only.prev_offset, only.accept_time_unix_nano)
        assert scan.later_stamps(raw) == (only.store_time_unix_nano, parsed.flush_time_unix_nano)
    elif not (rest or is_shuffled or is_replayed) and is_stored and prev and policy == "default":
        assert len(events) > 1 or not 0x80 <= len(made[0]) < 0x4000


@given(st.binary(max_size=200), st.integers(0, 60))
def test_bytes_that_are_no_event_do_no_harm(rest: bytes, cut: int) -> None:
    where = scan.address("agent:1", 3)
    for raw in (HEAD + rest, (HEAD + b"\x22" + rest)[:cut], HEAD + where + b"\x29" + b"8bytes.." + b"\x31" + rest):
        scan.lone_event(raw, HEAD)
        said = scan.sender(raw, where, 2)
        if said is not None:
            scan.stamps(raw, said[2])


@given(st.text("ab:", min_size=1, max_size=200), st.sampled_from(LANES))
def test_an_address_is_what_an_event_says(channel: str, lane: Priority) -> None:
    assert scan.address(channel, lane) == Event(channel=channel, priority=lane.wire_value).SerializeToString()
