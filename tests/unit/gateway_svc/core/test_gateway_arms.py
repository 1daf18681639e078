"""The gateway keeps the arms of the newest generation apart, in parts of channels."""

from __future__ import annotations

from typing import Any, cast

from gateway_svc.core.arms import ArmMeter
from gateway_svc.core.items import EventItem, JsonEncoder
from lanecast.core.bucketing import part
from lanecast.core.instruments import ROLLOUT_CANDIDATE_TIME, ROLLOUT_FAULTS, ROLLOUT_LATENCY, Instruments
from lanecast.v1.event_pb2 import ARM_BASELINE, ARM_CANDIDATE, ARM_UNSPECIFIED, Arm, Event, EventBatch

ENCODER = cast("JsonEncoder", None)


def item(
    arm: Arm.ValueType, generation: int, *offsets: int, prev: int = 0, channel: str = "c", **batch: Any
) -> EventItem:
    events = [Event(offset=offset, accept_time_unix_nano=1_000) for offset in offsets or (1,)]
    events[0].prev_offset = prev
    made = EventBatch(channel=channel, lane=2, events=events, arm=arm, generation=generation, **batch)
    return EventItem(made, b"", ENCODER)


def deliver(meter: ArmMeter, batch: EventItem, end_ns: int) -> None:
    parsed = batch.batch
    accepted = [each.accept_time_unix_nano for each in parsed.events]
    meter.delivered(batch.channel, batch.lane, parsed.generation, parsed.arm, accepted, end_ns)


def series(instruments: Instruments, name: str) -> dict[tuple[str, ...], int]:
    values: dict[tuple[str, ...], int] = {}
    for key, sketch in instruments.take_sketches():
        if key.name == name:
            values[tuple(value for _, value in key.attributes)] = sketch.count
    for key, number in instruments.take_counters():
        if key.name == name:
            values[tuple(value for _, value in key.attributes)] = number
    return values


def test_each_event_counts_once_in_its_arm_and_part() -> None:
    instruments = Instruments()
    meter = ArmMeter(instruments)
    deliver(meter, item(ARM_CANDIDATE, 3, 1, 2), 5_000)
    deliver(meter, item(ARM_BASELINE, 3, 3, channel="d"), 5_000)
    deliver(meter, item(ARM_UNSPECIFIED, 3, 4), 5_000)
    assert series(instruments, ROLLOUT_LATENCY) == {
        ("candidate", "3", "HIGH", str(part("c"))): 2,
        ("control", "3", "HIGH", str(part("d"))): 1,
    }


def test_a_new_generation_drops_the_old_and_old_batches_do_not_count() -> None:
    instruments = Instruments()
    meter = ArmMeter(instruments)
    deliver(meter, item(ARM_CANDIDATE, 3), 5_000)
    deliver(meter, item(ARM_BASELINE, 4), 5_000)
    deliver(meter, item(ARM_CANDIDATE, 3), 9_000)
    assert list(series(instruments, ROLLOUT_LATENCY)) == [("control", "4", "HIGH", str(part("c")))]
    assert [(key.name, value) for key, value in instruments.read_gauges()] == [(ROLLOUT_CANDIDATE_TIME, 9_000 / 1e9)]


def test_breaks_in_the_order_are_told_apart_and_replay_is_none() -> None:
    instruments = Instruments()
    meter = ArmMeter(instruments)
    deliver(meter, item(ARM_CANDIDATE, 3), 5_000)
    meter.broken(item(ARM_CANDIDATE, 3, 9, prev=7), 5)
    meter.broken(item(ARM_CANDIDATE, 3, 4, 5), 5)
    meter.broken(item(ARM_CANDIDATE, 3, 5, 6), 5)
    meter.broken(item(ARM_CANDIDATE, 3, 9, prev=7, replayed=True), 5)
    meter.broken(item(ARM_CANDIDATE, 2, 9, prev=7), 5)
    assert series(instruments, ROLLOUT_FAULTS) == {
        ("candidate", "3", "lost"): 1,
        ("candidate", "3", "duplicate"): 2,
        ("candidate", "3", "out_of_order"): 1,
    }
