"""Which policy a channel is on, and that a change of it loses, doubles and reorders nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lanecast.core import wire
from lanecast.core.bucketing import Arm, arm_of, bucket
from lanecast.core.channel import RESERVED_PREFIX
from lanecast.core.policy import DEFAULT, LEGACY_500MS
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import Event, EventBatch
from lanecast.v1.publisher_pb2 import StreamEventsResponse
from publisher_svc.core.arms import Arms, Assignment
from publisher_svc.core.downstream import Downstream
from publisher_svc.core.group import Group

HIGH, LOW = Priority.HIGH, Priority.LOW
CHANNELS = [f"c{number}" for number in range(8)]
MS = 1_000_000


def assignment(generation: int, exposure: int, *pinned: str) -> Assignment:
    return Assignment(generation, "salt", exposure, LEGACY_500MS, DEFAULT, frozenset(pinned))


def group(arms: Arms, channel: str, lane: Priority, offset: int, prev: int) -> Group:
    data = Event(id=str(offset), channel=channel, offset=offset, prev_offset=prev).SerializeToString()
    policy, arm = arms.serve(channel, lane)
    head = wire.batch_head(channel, lane, "e", policy, arm, arms.generation)
    return Group(channel, lane, head, [data], offset, len(data))


def batches(message: bytes | None) -> list[EventBatch]:
    return [] if message is None else list(StreamEventsResponse.FromString(message).batches)


def test_without_a_controller_all_channels_are_on_the_own_policy() -> None:
    arms = Arms(LEGACY_500MS)
    assert {arms.serve(channel, HIGH) for channel in CHANNELS} == {("legacy-500ms", Arm.REST)}


def test_arms_are_what_the_buckets_say_and_pins_stay() -> None:
    arms = Arms(LEGACY_500MS)
    assert arms.apply(assignment(1, 5_000, "c0"))
    for channel in CHANNELS:
        assert arms.arm(channel) is arm_of(bucket("salt", channel), 5_000, pinned=channel == "c0")
    assert arms.arm("c0") is Arm.REST
    assert arms.misassigned() == 0


def test_synthetic_events_are_in_no_arm_and_follow_when_all_others_have_moved() -> None:
    name = RESERVED_PREFIX + "perf:1"
    for exposure, policy in ((0, "legacy-500ms"), (9_999, "legacy-500ms"), (10_000, "default")):
        arms = Arms(LEGACY_500MS)
        arms.apply(assignment(1, exposure))
        assert arms.serve(name, HIGH) == (policy, Arm.REST)
        assert arms.counts() == {}
        assert arms.misassigned() == 0


def test_an_older_assignment_changes_nothing() -> None:
    arms = Arms(LEGACY_500MS)
    arms.apply(assignment(7, 0))
    assert not arms.apply(assignment(7, 10_000))
    assert not arms.apply(assignment(6, 10_000))
    assert {arms.arm(channel) for channel in CHANNELS} == {Arm.CONTROL}


def test_active_channels_are_counted_once_for_each_lane() -> None:
    arms = Arms(LEGACY_500MS)
    arms.apply(assignment(1, 10_000))
    for _ in range(3):
        for channel in CHANNELS:
            arms.serve(channel, HIGH)
    arms.serve("c0", LOW)
    arms.dropped("c0", LOW, 4)
    assert arms.counts() == {(HIGH, Arm.CANDIDATE): (8, 0), (LOW, Arm.CANDIDATE): (1, 4)}


def test_a_switch_sends_what_waited_at_once_as_the_arm_it_waited_in() -> None:
    arms = Arms(LEGACY_500MS)
    arms.apply(assignment(1, 0))
    stream = Downstream([HIGH], {}, max_message_events=64, max_message_bytes=32_768, arms=arms)
    stream.add("c0", HIGH, 0, live=True)
    stream.offer(group(arms, "c0", HIGH, 1, 0), 0)
    assert stream.take(MS) is None  # its window is half a second
    arms.apply(assignment(2, 10_000))
    stream.switch()
    (batch,) = batches(stream.take(MS))
    assert (batch.policy, batch.generation, [event.offset for event in batch.events]) == ("legacy-500ms", 1, [1])
    stream.offer(group(arms, "c0", HIGH, 2, 1), MS)
    (batch,) = batches(stream.take(MS))
    assert (batch.policy, batch.generation, batch.arm) == ("default", 2, Arm.CANDIDATE)
    assert stream.queued_events == 0


def test_an_arm_does_not_take_the_other_along() -> None:
    arms = Arms(LEGACY_500MS)
    half = assignment(1, 5_000)
    arms.apply(half)
    candidate = next(channel for channel in CHANNELS if arms.arm(channel) is Arm.CANDIDATE)
    control = next(channel for channel in CHANNELS if arms.arm(channel) is Arm.CONTROL)
    stream = Downstream([HIGH], {}, max_message_events=64, max_message_bytes=32_768, arms=arms)
    for offset, channel in enumerate((control, candidate), 1):
        stream.add(channel, HIGH, 0, live=True)
        stream.offer(group(arms, channel, HIGH, offset, 0), 0)
    assert [batch.channel for batch in batches(stream.take(1))] == [candidate]
    assert stream.next_due_ns() == 500 * MS
    assert [batch.channel for batch in batches(stream.take(500 * MS))] == [control]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.sampled_from(CHANNELS), st.sampled_from([HIGH, LOW])),
        st.tuples(st.just("switch"), st.sampled_from([0, 1_000, 5_000, 10_000])),
        st.tuples(st.just("take"), st.sampled_from([0, 3 * MS, 600 * MS])),
    ),
    max_size=80,
)


@settings(deadline=None)
@given(STEPS)
def test_whatever_switches_every_event_leaves_once_and_in_order(steps: list[tuple[object, ...]]) -> None:
    arms = Arms(LEGACY_500MS)
    stream = Downstream([HIGH, LOW], {}, max_message_events=5, max_message_bytes=32_768, arms=arms)
    for channel in CHANNELS:
        for lane in (HIGH, LOW):
            stream.add(channel, lane, 0, live=True)
    offered: dict[tuple[str, int], list[int]] = {}
    sent: dict[tuple[str, int], list[int]] = {}
    now = offset = generation = 0

    def take() -> bool:
        found = batches(stream.take(now))
        for batch in found:
            offsets = sent.setdefault((batch.channel, batch.lane), [])
            offsets += [event.offset for event in batch.events]
        return bool(found)

    for step in steps:
        if step[0] == "offer":
            offset += 1
            _, channel, lane = step
            mine = offered.setdefault((str(channel), Priority(lane).wire_value), [])  # type: ignore[arg-type]
            stream.offer(group(arms, str(channel), lane, offset, mine[-1] if mine else 0), now)  # type: ignore[arg-type]
            mine.append(offset)
        elif step[0] == "switch":
            generation += 1
            arms.apply(assignment(generation, int(str(step[1]))))
            stream.switch()
        else:
            now += int(str(step[1]))
            take()
    now += 1_000 * MS
    while take():
        now += 1_000 * MS
    assert sent == offered
    assert stream.queued_events == 0
    assert stream.next_due_ns() is None
