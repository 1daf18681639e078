from __future__ import annotations

from gateway_fakes import World, event, item

from gateway_svc.core.backlog import Entry
from gateway_svc.core.meter import Meter
from gateway_svc.core.types import TypeBook
from lanecast.core.clock import UNKNOWN, Reading
from lanecast.core.instruments import (
    CLOCK_COARSE,
    CLOCK_SKEWED,
    DELIVERY_DURATION,
    HOP_DURATION,
    ROLLOUT_LATENCY,
    Instruments,
)
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import ARM_CANDIDATE, PRIORITY_HIGH, EventBatch
from lanecast.v1.gateway_pb2 import Receipt, ReceiptSample

STAMPS = {
    "create_time_unix_nano": 1_000,
    "send_time_unix_nano": 3_000,
    "accept_time_unix_nano": 6_000,
    "store_time_unix_nano": 10_000,
}


def stamped(count: int) -> EventBatch:
    events = [event(number + 1, number) for number in range(count)]
    for each in events:
        for name, value in STAMPS.items():
            setattr(each, name, value)
    return EventBatch(channel="c", lane=PRIORITY_HIGH, epoch="A", events=events, flush_time_unix_nano=15_000)


class Measured:
    def __init__(self) -> None:
        self.instruments = Instruments()
        self.types = TypeBook()
        self.meter = Meter(self.instruments, self.types, World().totals)

    def series(self) -> dict[str, tuple[int, int]]:
        """Return count and sum by hop, scope or scope and type."""
        found: dict[str, tuple[int, int]] = {}
        for key, sketch in self.instruments.take_sketches():
            names = dict(key.attributes)
            if key.name not in {HOP_DURATION, DELIVERY_DURATION}:
                continue
            name = names.get("hop") or "/".join(filter(None, (names["scope"], names.get("type"))))
            found[name] = (sketch.count, sketch.sum_ns)
        return found

    def blocked(self) -> dict[str, int]:
        """Return how many deliveries waited for their peer, by type; empty: all together."""
        return {
            dict(key.attributes).get("type", ""): counter.value
            for key, counter in self.instruments._counters.items()
            if dict(key.attributes).get("result") == "blocked_by_peer"
        }

    def delivered(self) -> int:
        return sum(amount for key, amount in self.instruments.take_counters() if key.name == "lanecast.event.delivered")


def test_the_hops_add_up_to_the_whole() -> None:
    measured = Measured()
    batch = stamped(2)
    sent = item(list(batch.events))
    sent.batch.flush_time_unix_nano = 15_000
    sent.receive_ns, sent.send_ns = 21_000, 28_000
    measured.meter.dispatched(sent, [(1, 36_000)])
    series = measured.series()
    hops = ["sdk_queue", "ingest", "log", "lane_wait", "transit", "edge_wait", "socket_write"]
    assert {name: total // count for name, (count, total) in series.items() if name in hops} == dict(
        zip(hops, range(2_000, 9_000, 1_000), strict=True)
    )
    assert series["server"] == series["server/test"] == (2, 2 * 30_000)
    assert measured.delivered() == 2


def test_each_delivery_counts_and_a_batch_counts_once() -> None:
    measured = Measured()
    sent = item(list(stamped(3).events))
    sent.batch.flush_time_unix_nano = 4
    measured.meter.dispatched(sent, [(8, 40_000), (2, 50_000)])
    series = measured.series()
    assert series["transit"][0] == 3
    assert series["socket_write"][0] == series["server"][0] == 30
    assert measured.delivered() == 30


def test_what_waited_in_an_outbox_was_blocked_by_the_peer_and_is_in_no_duration() -> None:
    measured = Measured()
    sent = item(list(stamped(1).events))
    measured.meter.flushed([Entry(None, sent, 0, 10)], 0)  # type: ignore[arg-type]
    assert measured.series() == {}
    assert measured.blocked() == {"": 1, "test": 1}
    assert measured.delivered() == 1


def test_replayed_events_count_as_delivered_and_not_as_latency() -> None:
    measured = Measured()
    replayed = item(list(stamped(2).events), live=False)
    measured.meter.sent(replayed)
    measured.meter.flushed([Entry(None, replayed, 0, 10)], 0)  # type: ignore[arg-type]
    replayed.receive_ns, replayed.send_ns = 1, 2
    measured.meter.dispatched(replayed, [(1, 50)])  # the stream itself brings events from the log after a reconnect
    assert measured.series() == {}
    assert measured.delivered() == 6


def test_receipts_are_clamped_and_strange_types_ignored() -> None:
    measured = Measured()
    samples = [
        ReceiptSample(lane=PRIORITY_HIGH, last_mile_micros=5, end_to_end_micros=7, type="made.up"),
        ReceiptSample(lane=PRIORITY_HIGH, last_mile_micros=-5, end_to_end_micros=2**40),
        ReceiptSample(lane=9, last_mile_micros=5),  # type: ignore[arg-type]
    ]
    measured.meter.receipt(Receipt(samples=samples))
    assert measured.series() == {"last_mile": (1, 5_000), "end_to_end": (1, 7_000)}
    assert Priority.HIGH.wire_value == PRIORITY_HIGH


def test_hops_of_a_busy_lane_are_counted_of_some_batches_evenly_and_as_often() -> None:
    measured = Measured()

    def second(late: int) -> dict[str, tuple[int, int]]:
        """Deliver 4,096 batches of which the first 512 took longer, as they do after an export."""
        for number in range(4_096):
            sent = item(list(stamped(1).events))
            sent.batch.flush_time_unix_nano = 15_000
            sent.receive_ns = 15_000 + (late if number < 512 else 1_000)
            sent.send_ns = sent.receive_ns + 1_000
            measured.meter.dispatched(sent, [(1, sent.send_ns + 1_000)])
        return measured.series()

    exact = second(100_000)
    assert exact["transit"] == (4_096, 512 * 100_000 + 3_584 * 1_000)  # nothing is known of the lane yet
    assert second(100_000)["transit"] == exact["transit"]
    assert measured.meter._lanes[Priority.HIGH].stride == 8
    assert measured.series() == {}
    for _ in range(4):
        measured.series()
    assert measured.meter._lanes[Priority.HIGH].stride == 1


def counted(measured: Measured, name: str) -> int:
    return sum(counter.value for key, counter in measured.instruments._counters.items() if key.name == name)


def test_ends_are_compared_with_the_publishers_stamps_on_the_publishers_clock() -> None:
    measured = Measured()
    measured.meter.clock = Reading(-1_000_000, 20)
    sent = item(list(stamped(2).events))
    sent.batch.flush_time_unix_nano = 15_000
    sent.receive_ns, sent.send_ns = 1_021_000, 1_028_000
    measured.meter.dispatched(sent, [(1, 1_036_000)])
    series = measured.series()
    assert series["server"] == (2, 2 * 30_000)
    assert series["transit"] == (2, 2 * 6_000)
    assert (series["edge_wait"], series["socket_write"]) == ((2, 2 * 7_000), (2, 2 * 8_000))
    sample = ReceiptSample(lane=PRIORITY_HIGH, last_mile_micros=5, end_to_end_micros=1_033, type="test")
    measured.meter.receipt(Receipt(samples=[sample]))
    assert measured.series() == {"last_mile": (1, 5_000), "end_to_end": (1, 33_000)}


def test_what_compares_clocks_too_badly_known_is_counted_as_coarse_and_in_no_latency() -> None:
    measured = Measured()
    measured.meter.clock = UNKNOWN
    sent = item(list(stamped(2).events))
    sent.batch.flush_time_unix_nano, sent.batch.generation, sent.batch.arm = 15_000, 1, ARM_CANDIDATE
    sent.receive_ns, sent.send_ns = 21_000, 28_000
    measured.meter.dispatched(sent, [(3, 36_000)])
    assert set(measured.series()) == {"sdk_queue", "ingest", "log", "lane_wait", "edge_wait", "socket_write"}
    assert not any(key.name == ROLLOUT_LATENCY for key, _ in measured.instruments.take_sketches())
    assert measured.delivered() == 6
    measured = Measured()
    measured.meter.clock = Reading(0, 2_400_000)
    sample = ReceiptSample(lane=PRIORITY_HIGH, last_mile_micros=5, end_to_end_micros=9, uncertainty_micros=200)
    measured.meter.receipt(Receipt(samples=[sample]))  # each alone is fine, the sum of both bounds is not
    assert measured.series() == {"last_mile": (1, 5_000)}
    assert counted(measured, CLOCK_COARSE) == 1


def test_what_seems_to_come_before_it_was_sent_by_less_than_the_bound_took_no_time_and_is_counted() -> None:
    measured = Measured()
    measured.meter.clock = Reading(-1_000_000, 500)
    sent = item(list(stamped(2).events))
    sent.batch.flush_time_unix_nano = 15_000
    sent.receive_ns, sent.send_ns = 1_014_600, 1_021_600
    measured.meter.dispatched(sent, [(1, 1_029_600)])
    series = measured.series()
    assert series["transit"] == (2, 2)  # nothing is smaller than a nanosecond
    assert series["server"] == (2, 2 * 24_000), "the hops still add up to it"
    assert counted(measured, CLOCK_SKEWED) == 0
    sent.receive_ns = 1_014_499  # by a nanosecond more than the bound: one of the clocks was set
    measured.meter.dispatched(sent, [(1, 1_005_000)])
    assert not {"transit", "server"} & set(measured.series())
    assert counted(measured, CLOCK_SKEWED) == 2 + 2 + 2  # server latency is counted by type as well


def test_a_browser_that_got_it_too_early_by_less_than_the_bounds_got_it_at_once() -> None:
    measured = Measured()
    measured.meter.clock = Reading(0, 5_000)
    early = ReceiptSample(lane=PRIORITY_HIGH, last_mile_micros=-3, end_to_end_micros=-8, uncertainty_micros=3)
    measured.meter.receipt(Receipt(samples=[early]))
    assert measured.series() == {"last_mile": (1, 1), "end_to_end": (1, 1)}
    assert counted(measured, CLOCK_SKEWED) == 0
    early.last_mile_micros, early.end_to_end_micros = -4, -9
    measured.meter.receipt(Receipt(samples=[early]))
    assert measured.series() == {}
    assert counted(measured, CLOCK_SKEWED) == 2
