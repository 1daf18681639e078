"""The schedule and the limits of performance tests, and their account."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.channel import is_reserved
from lanecast.core.priority import LANES, Priority
from lanecast.errors import StatusError
from metrics_svc.core.grade import Grade
from metrics_svc.core.latency import HOP
from metrics_svc.core.perf_account import PerfAccount, Stamps
from metrics_svc.core.perf_payload import payloads
from metrics_svc.core.perf_plan import MAX_TOTAL_BYTES, PerfPlan, channel_name

plans = st.builds(
    PerfPlan,
    rate=st.integers(1, 50_000),
    seconds=st.floats(1, 3),
    subscribers=st.integers(1, 5),
    mix=st.lists(
        st.tuples(st.sampled_from(LANES), st.floats(0.01, 100)),
        min_size=1,
        max_size=4,
        unique_by=lambda share: share[0],
    ).map(tuple),
)


@given(plans, st.integers(-10, 4_000_000_000))
def test_what_is_due_by_a_time_is_exactly_what_was_due_before_it(plan: PerfPlan, elapsed_ns: int) -> None:
    due = plan.due_by(elapsed_ns)
    assert 0 <= due <= plan.events
    if due:
        assert plan.due_ns(due - 1) <= elapsed_ns
    if due < plan.events:
        assert plan.due_ns(due) > elapsed_ns


@given(plans)
def test_lanes_have_their_shares(plan: PerfPlan) -> None:
    sequence = plan.lanes()
    total = sum(weight for _, weight in plan.mix)
    for lane, weight in plan.mix:
        assert sequence.count(lane) / len(sequence) == pytest.approx(weight / total, abs=0.001)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"rate": 0}, "events_per_second"),
        ({"rate": 50_001}, "events_per_second"),
        ({"seconds": 0.5}, "duration"),
        ({"seconds": 601.0}, "duration"),
        ({"seconds": float("nan")}, "duration"),
        ({"subscribers": 1001}, "subscribers"),
        ({"payload_bytes": 15}, "payload_bytes"),
        ({"mix": ((Priority.LOW, 0.0),)}, "mix"),
        ({"mix": ((Priority.LOW, float("nan")),)}, "mix"),
        ({"mix": ((Priority.LOW, -1.0), (Priority.HIGH, 2.0))}, "mix"),
        ({"mix": ((Priority.LOW, 1.0), (Priority.LOW, 2.0))}, "mix"),
        ({"rate": 50_000, "seconds": 60.0}, "duration"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_its_field(options: dict[str, Any], field: str) -> None:
    with pytest.raises(StatusError) as caught:
        PerfPlan(**options).check()
    assert (caught.value.code, caught.value.field) == (3, field)


def test_a_test_of_the_largest_size_is_allowed() -> None:
    PerfPlan(rate=1000, seconds=MAX_TOTAL_BYTES / 456 / 1000).check()
    PerfPlan().check()


def test_its_channels_are_reserved() -> None:
    assert is_reserved(channel_name("a1", 3))


@given(st.integers(16, 65_536))
def test_payloads_have_the_size_asked_for(size: int) -> None:
    for message in payloads(size).values():
        assert size - 1 <= message.ByteSize() <= size


def stamps(received: int, took_ns: int = 500_000) -> Stamps:
    start = received - took_ns
    return Stamps(start - 30, start - 20, start, start + 1, start + 2, start + 3, start + 4, received)


def run(plan: PerfPlan, deliveries: list[int], took_ns: int = 500_000) -> PerfAccount:
    account = PerfAccount(plan)
    account.started_ns = 1_000_000_000
    for number in range(plan.events):
        account.on_sent(account.started_ns + plan.due_ns(number) + 1000)
    for number in deliveries:
        account.on_received(number, stamps(account.started_ns + plan.due_ns(max(number, 0)) + 2_000_000, took_ns))
    return account


PLAN = PerfPlan(rate=100, seconds=1.0, mix=((Priority.CRITICAL, 1.0), (Priority.LOW, 1.0)))


@given(st.lists(st.integers(0, 99), max_size=300), st.sets(st.integers(0, 99)))
def test_every_event_is_received_lost_or_refused_and_repeats_are_counted(came: list[int], refused: set[int]) -> None:
    account = run(PLAN, came)
    for number in refused:
        account.on_refused(number)
        account.on_refused(number)
    assert account.received == len(set(came))
    assert account.duplicated == len(came) - len(set(came))
    assert account.rejected == len(refused)
    assert account.lost == len(set(range(100)) - set(came) - refused)
    samples = sum(figure.count for figure in account.figures() if figure.scope == "server")
    assert samples == len(set(came))


def test_figures_are_about_the_time_since_an_event_was_due() -> None:
    account = run(PLAN, list(range(100)))
    by_scope = {(figure.scope, figure.lane): figure for figure in account.figures() if figure.scope != HOP}
    assert by_scope["end_to_end", Priority.LOW].p50 == pytest.approx(0.002, rel=0.006)
    assert by_scope["server", Priority.CRITICAL].p50 == pytest.approx(0.0005, rel=0.006)
    assert by_scope["server", Priority.CRITICAL].count + by_scope["server", Priority.LOW].count == 100
    assert account.complete
    assert account.status(2_000_000_000).grade is Grade.A
    assert account.remarks() == []


def test_losses_and_slowness_cost_the_grade_and_are_said() -> None:
    assert run(PLAN, list(range(100)), took_ns=3_000_000).status(0).grade is Grade.F  # CRITICAL is 80 % of these two
    calm = PerfPlan(rate=100, seconds=1.0, mix=((Priority.HIGH, 1.0), (Priority.LOW, 1.0)))
    assert run(calm, list(range(100)), took_ns=3_000_000).status(0).grade is Grade.A
    lossy = run(PLAN, [number for number in range(100) if number % 2])
    assert lossy.status(0).grade > Grade.B
    assert "50 accepted events did not arrive" in lossy.remarks()[0]


def test_a_foreign_event_is_not_taken_for_one_of_the_test() -> None:
    account = run(PLAN, [-1, 100, 5])
    assert (account.received, account.foreign) == (1, 2)
    assert "were not sent by it" in account.remarks()[-1]
