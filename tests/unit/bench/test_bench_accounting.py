"""bench.accounting: losses, duplicates and latencies come out as they went in."""

from __future__ import annotations

import numpy as np
import pytest

from bench import accounting, mark, run, schedule
from bench.accounting import Tally
from bench.scenario import Load, Scenario, Window
from lanecast.core.sketch import Sketch

START = 1_790_000_000_000_000_000
SCENARIO = Scenario(
    "test",
    "test",
    sockets=5,
    channels=2,
    loads=(Load(10, {"CRITICAL": 1, "LOW": 1}),),
    seconds=4,
    warmup_seconds=1,
    windows=(Window("first", 0, 0.5), Window("second", 0.5, 1)),
)
NOTHING_REFUSED = np.zeros((0, 3), dtype=np.int64)


def deliver(tally: Tally, row: int, socket: int, *, skip: int = -1, twice: int = -1, delay_ns: int = 2_000_000) -> None:
    """Give a socket every event of its channel, except one, and one of them twice."""
    plan = schedule.plan(SCENARIO)
    for index in range(len(plan)):
        if plan.channel[index] != socket % SCENARIO.channels or plan.sequence[index] == skip:
            continue
        due = START + plan.due_ns[index]
        event = (plan.channel[index], plan.sequence[index], plan.lane[index], plan.load[index])
        marks = mark.find(mark.encode(due, due + 1_000_000, *event))
        times = 2 if plan.sequence[index] == twice else 1
        tally.take(marks * times, [due + delay_ns], [row], [times])


def judged(tally: Tally, sockets: list[int], refused: np.ndarray = NOTHING_REFUSED) -> dict:
    return run.account(SCENARIO, [tally.as_arrays() | {"sockets": np.array(sockets)}], refused)


def full(**faults: int) -> tuple[Tally, list[int]]:
    sockets = list(range(5))
    tally = Tally(SCENARIO, START, sockets)
    for row, socket in enumerate(sockets):
        deliver(tally, row, socket, **(faults if socket == 3 else {}))
    return tally, sockets


def test_a_complete_run_has_no_losses() -> None:
    account = judged(*full())
    # 50 events in two channels; channel 0 has three sockets and channel 1 has two.
    assert account["expected"] == 25 * 3 + 25 * 2
    assert (account["lost"], account["duplicated"], account["unexpected"], account["foreign"]) == (0, 0, 0, 0)
    assert sum(lane["expected"] for lane in account["lanes"].values()) == account["expected"]


def test_one_lost_and_one_doubled_event_are_found_in_their_lane() -> None:
    tally, sockets = full(skip=4, twice=6)
    account = judged(tally, sockets)
    assert (account["lost"], account["duplicated"]) == (1, 1)
    grid = accounting.lane_grid(SCENARIO, schedule.load_events(SCENARIO, 0))
    names = {1: "CRITICAL", 4: "LOW"}
    assert account["lanes"][names[int(grid[1, 4])]]["lost"] == 1
    assert account["lanes"][names[int(grid[1, 6])]]["duplicated"] == 1


def test_refused_events_are_not_expected_and_unexpected_where_they_come_anyway() -> None:
    tally, sockets = full(skip=4)
    refused = np.array([[0, 1, 4]])
    account = judged(tally, sockets, refused)
    # Socket 3 rightly never saw the event; socket 1, on the same channel, got it although it was refused.
    assert account["expected"] == 25 * 3 + 24 * 2
    assert (account["lost"], account["unexpected"]) == (0, 1)


def test_a_foreign_event_is_counted_apart() -> None:
    tally = Tally(SCENARIO, START, [0])
    wrong_channel = mark.find(mark.encode(START, START, 1, 0, 1, 0))
    never_planned = mark.find(mark.encode(START, START, 0, 10_000, 1, 0)) + mark.find(
        mark.encode(START, START, 0, 0, 1, 9)
    )
    tally.take(wrong_channel + never_planned, [START], [0], [3])
    assert (tally.received, tally.foreign) == (3, 3)


def test_latencies_count_from_the_schedule_in_their_window_and_not_in_warm_up() -> None:
    tally, _ = full()
    measured = run.measured(SCENARIO, [tally.as_arrays()])
    counts = [measured["windows"][name]["ALL"]["count"] for name in ("first", "second")]
    plan = schedule.plan(SCENARIO)
    warm = sum(SCENARIO.sockets_of(c) for due, c in zip(plan.due_ns, plan.channel, strict=True) if due < 1e9)
    assert sum(counts) == 125 - warm
    figures = measured["windows"]["first"]["ALL"]
    assert figures["p50_ms"] == pytest.approx(2.0, rel=0.011)
    assert figures["max_ms"] == 2.0
    assert figures["from_send_p50_ms"] == pytest.approx(1.0, rel=0.011)
    assert sum(step["count"] for step in measured["over_time"]) == 125


def test_buckets_agree_with_the_sketch_of_the_services() -> None:
    durations = np.unique(np.logspace(0, 12, 5000).astype(np.int64))
    expected = []
    for duration in durations:
        sketch = Sketch()
        sketch.record_ns(int(duration))
        expected.append(sketch.counts.index(1))
    assert list(accounting.bucket_of(durations)) == expected


def test_negative_durations_are_skew_and_nothing_else() -> None:
    histograms = accounting.Histograms(2)
    histograms.record(np.array([0, 1, 1]), np.array([5_000, -1, 7_000]))
    assert list(histograms.skewed) == [0, 1]
    assert list(histograms.counts.sum(axis=1)) == [1, 1]
    assert list(histograms.maxima) == [5_000, 7_000]
