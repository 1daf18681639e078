"""The supervisor core: restarts, giving up, order of starting and stopping."""

from __future__ import annotations

import pytest

from lanecast.cli.core.supervisor import (
    AllReady,
    ChildSpec,
    ChildState,
    Died,
    Finish,
    GaveUp,
    Kill,
    Rolled,
    Spawn,
    Supervisor,
    SupervisorPolicy,
    Terminate,
)
from lanecast.core import exit_codes
from lanecast.core.backoff import BackoffPolicy

POLICY = SupervisorPolicy(
    start_seconds=60.0, stable_seconds=10.0, stop_seconds=15.0, backoff=BackoffPolicy(first=0.5, maximum=10.0)
)
SYSTEM = (
    ChildSpec("publisher", stop_stage=2),
    ChildSpec("gateway-1", stop_stage=1),
    ChildSpec("metrics", stop_stage=3),
)


def largest(_low: float, high: float) -> float:
    return high


def running(*specs: ChildSpec) -> Supervisor:
    """A supervisor whose children all became ready at time 0."""
    supervisor = Supervisor(specs or SYSTEM, POLICY, largest)
    supervisor.start(0.0)
    for spec in specs or SYSTEM:
        supervisor.on_ready(spec.name, 0.0)
    return supervisor


def test_starts_all_of_the_first_stage() -> None:
    supervisor = Supervisor(SYSTEM, POLICY)

    assert supervisor.start(0.0) == [Spawn("publisher"), Spawn("gateway-1"), Spawn("metrics")]
    assert supervisor.state("publisher") is ChildState.STARTING


def test_says_once_that_all_are_ready() -> None:
    supervisor = Supervisor(SYSTEM, POLICY)
    supervisor.start(0.0)

    assert supervisor.on_ready("metrics", 1.0) == []
    assert supervisor.on_ready("publisher", 1.0) == []
    assert supervisor.on_ready("gateway-1", 2.0) == [AllReady()]
    assert supervisor.on_ready("gateway-1", 2.0) == []


def test_a_later_stage_waits_for_the_one_before() -> None:
    supervisor = Supervisor([ChildSpec("publisher"), ChildSpec("concierge", start_stage=1)], POLICY)

    assert supervisor.start(0.0) == [Spawn("publisher")]
    assert supervisor.state("concierge") is ChildState.PENDING
    assert supervisor.on_ready("publisher", 1.0) == [Spawn("concierge")]
    assert supervisor.on_ready("concierge", 2.0) == [AllReady()]


def test_a_child_without_ready_line_is_ready_once_it_has_lived_long_enough() -> None:
    supervisor = Supervisor([ChildSpec("concierge", settle_seconds=3.0)], POLICY)
    supervisor.start(10.0)

    assert supervisor.next_deadline() == 13.0
    assert supervisor.on_timer(12.9) == []
    assert supervisor.on_timer(13.0) == [AllReady()]
    assert supervisor.state("concierge") is ChildState.READY
    assert supervisor.next_deadline() is None


def test_the_first_restart_is_at_once_and_reports_readiness_again() -> None:
    supervisor = running()

    assert supervisor.on_exit("publisher", -9, 5.0) == [Died("publisher", -9, 0.0), Spawn("publisher")]
    assert supervisor.on_ready("publisher", 6.0) == [AllReady()]
    assert supervisor.restarts("publisher") == 1


def test_further_restarts_back_off_up_to_the_maximum() -> None:
    supervisor = running()
    supervisor.on_exit("publisher", 1, 1.0)
    delays = []
    now = 1.0
    for _ in range(7):
        died, *rest = supervisor.on_exit("publisher", 1, now)
        assert isinstance(died, Died)
        assert rest == []
        assert supervisor.state("publisher") is ChildState.WAITING
        delays.append(died.delay_seconds)
        now += died.delay_seconds
        assert supervisor.next_deadline() == now
        assert supervisor.on_timer(now) == [Spawn("publisher")]

    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_child_that_was_stable_is_restarted_at_once_again() -> None:
    supervisor = running()
    supervisor.on_exit("publisher", 1, 1.0)
    supervisor.on_ready("publisher", 2.0)

    assert supervisor.on_exit("publisher", 1, 12.0)[0] == Died("publisher", 1, 0.0)


def test_a_child_that_died_young_is_not_restarted_at_once() -> None:
    supervisor = running()
    supervisor.on_exit("publisher", 1, 1.0)
    supervisor.on_ready("publisher", 2.0)

    assert supervisor.on_exit("publisher", 1, 11.9) == [Died("publisher", 1, 0.5)]


def test_a_service_that_ends_with_zero_unasked_is_restarted() -> None:
    assert running().on_exit("metrics", 0, 5.0) == [Died("metrics", 0, 0.0), Spawn("metrics")]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (exit_codes.USAGE, exit_codes.USAGE),
        (exit_codes.CANNOT_START, exit_codes.CANNOT_START),
        (1, exit_codes.CANNOT_START),
        (0, exit_codes.CANNOT_START),
        (-11, exit_codes.CANNOT_START),
    ],
)
def test_gives_up_on_a_child_that_was_never_ready(code: int, expected: int) -> None:
    supervisor = Supervisor(SYSTEM, POLICY)
    supervisor.start(0.0)
    supervisor.on_ready("gateway-1", 1.0)

    assert supervisor.on_exit("publisher", code, 1.0) == [GaveUp("publisher", code), Terminate("gateway-1")]
    assert supervisor.stopping
    assert supervisor.on_exit("gateway-1", 0, 2.0) == [Terminate("metrics")]
    assert supervisor.on_exit("metrics", 0, 3.0) == [Finish(expected)]


def test_keeps_trying_a_child_that_was_ready_once_and_now_fails_to_start() -> None:
    supervisor = running()
    supervisor.on_exit("publisher", -9, 1.0)

    assert supervisor.on_exit("publisher", exit_codes.CANNOT_START, 2.0) == [Died("publisher", 4, 0.5)]


def test_a_child_that_is_not_ready_in_time_is_killed_and_given_up() -> None:
    supervisor = Supervisor(SYSTEM[:1], POLICY)
    supervisor.start(0.0)

    assert supervisor.on_timer(60.0) == [Kill("publisher", "it was not ready within 60 s")]
    assert supervisor.on_exit("publisher", -9, 60.1) == [GaveUp("publisher", -9), Finish(exit_codes.CANNOT_START)]


def test_stops_gateways_then_publisher_then_metrics() -> None:
    supervisor = running(*SYSTEM, ChildSpec("gateway-2", stop_stage=1))

    assert supervisor.stop(20.0) == [Terminate("gateway-1"), Terminate("gateway-2")]
    assert supervisor.on_exit("gateway-1", 0, 21.0) == []
    assert supervisor.on_exit("gateway-2", 0, 22.0) == [Terminate("publisher")]
    assert supervisor.on_exit("publisher", 0, 23.0) == [Terminate("metrics")]
    assert supervisor.on_exit("metrics", 0, 24.0) == [Finish(exit_codes.OK)]


def test_a_stage_that_does_not_end_in_time_is_killed_and_the_exit_code_says_so() -> None:
    supervisor = running()
    supervisor.stop(20.0)

    assert supervisor.next_deadline() == 35.0
    assert supervisor.on_timer(35.0) == [Kill("gateway-1", "it did not end within 15 s")]
    assert supervisor.on_exit("gateway-1", -9, 35.1) == [Terminate("publisher")]
    supervisor.on_exit("publisher", 0, 36.0)
    assert supervisor.on_exit("metrics", 0, 37.0) == [Finish(exit_codes.FAILED)]


def test_a_child_that_fails_while_draining_shows_in_the_exit_code() -> None:
    supervisor = running(SYSTEM[0])
    supervisor.stop(20.0)

    assert supervisor.on_exit("publisher", 1, 21.0) == [Finish(exit_codes.FAILED)]


def test_a_child_that_was_not_ready_yet_has_nothing_to_lose_when_stopped() -> None:
    supervisor = Supervisor(SYSTEM[:1], POLICY)
    supervisor.start(0.0)
    supervisor.stop(0.1)

    assert supervisor.on_exit("publisher", -15, 0.2) == [Finish(exit_codes.OK)]


def test_nothing_is_restarted_while_stopping() -> None:
    supervisor = running()
    supervisor.stop(20.0)

    assert supervisor.on_exit("publisher", -9, 21.0) == []
    assert supervisor.on_exit("gateway-1", 0, 22.0) == [Terminate("metrics")]
    assert supervisor.on_exit("metrics", 0, 23.0) == [Finish(exit_codes.OK)]


def test_readiness_during_the_stop_is_not_reported() -> None:
    supervisor = Supervisor(SYSTEM[:1], POLICY)
    supervisor.start(0.0)

    assert supervisor.stop(0.5) == [Terminate("publisher")]
    assert supervisor.on_ready("publisher", 0.6) == []


def test_a_child_that_waits_for_its_restart_is_not_waited_for() -> None:
    supervisor = running(SYSTEM[0])
    supervisor.on_exit("publisher", 1, 1.0)
    supervisor.on_exit("publisher", 1, 1.0)
    assert supervisor.state("publisher") is ChildState.WAITING

    assert supervisor.stop(2.0) == [Finish(exit_codes.OK)]
    assert supervisor.next_deadline() is None


def test_asked_twice_it_kills_what_is_left() -> None:
    supervisor = running()
    supervisor.stop(20.0)
    supervisor.on_exit("gateway-1", 0, 20.5)

    killed = supervisor.stop(21.0)

    assert [action.name for action in killed if isinstance(action, Kill)] == ["publisher", "metrics"]
    supervisor.on_exit("publisher", -9, 21.1)
    assert supervisor.on_exit("metrics", -9, 21.2)[-1] == Finish(exit_codes.INTERRUPTED)
    assert supervisor.stop(22.0) == []


def test_an_example_that_has_done_its_work_is_not_started_again() -> None:
    spec = ChildSpec("concierge", settle_seconds=3.0, ends_by_itself=True)
    supervisor = Supervisor([spec], POLICY)
    supervisor.start(0.0)

    assert supervisor.on_exit("concierge", 0, 1.0) == [Finish(exit_codes.OK)]


def test_the_others_go_on_when_one_has_done_its_work() -> None:
    specs = [ChildSpec(name, settle_seconds=3.0, ends_by_itself=True) for name in ("concierge", "bots")]
    supervisor = Supervisor(specs, POLICY)
    supervisor.start(0.0)
    supervisor.on_timer(3.0)

    assert supervisor.on_exit("concierge", 0, 5.0) == []
    assert supervisor.on_exit("bots", 1, 6.0) == [Died("bots", 1, 0.0), Spawn("bots")]


def test_names_must_differ() -> None:
    with pytest.raises(ValueError, match="same name"):
        Supervisor([ChildSpec("publisher"), ChildSpec("publisher")])


# Rolling restarts

SERVICES = (
    ChildSpec("publisher"),
    ChildSpec("gateway-1", start_stage=1),
    ChildSpec("concierge", start_stage=2, is_service=False),
)


def test_a_rolling_restart_goes_from_one_service_to_the_next_when_all_are_ready() -> None:
    supervisor = running(*SERVICES)
    assert supervisor.roll(100.0) == [Terminate("publisher")]
    assert supervisor.rolling == "publisher"
    assert supervisor.on_exit("publisher", 0, 101.0) == [Spawn("publisher")]
    assert supervisor.on_ready("publisher", 102.0) == [AllReady(), Terminate("gateway-1")]
    assert supervisor.on_exit("gateway-1", 0, 103.0) == [Spawn("gateway-1")]
    assert supervisor.on_ready("gateway-1", 104.0) == [AllReady(), Rolled()]
    assert supervisor.restarts("publisher") == 0, "that was no failure"
    assert supervisor.rolling == ""


def test_a_second_request_changes_nothing() -> None:
    supervisor = running(*SERVICES)
    supervisor.roll(100.0)
    assert supervisor.roll(100.0) == []


def test_a_service_that_does_not_end_in_time_is_killed_and_started_again() -> None:
    supervisor = running(*SERVICES)
    supervisor.roll(100.0)
    assert supervisor.on_timer(115.0) == [Kill("publisher", "it did not end within 15 s")]
    assert supervisor.on_exit("publisher", -9, 115.0) == [Spawn("publisher")]


def test_a_service_that_does_not_become_ready_again_spares_the_others() -> None:
    supervisor = running(*SERVICES)
    supervisor.roll(100.0)
    supervisor.on_exit("publisher", 0, 101.0)
    assert supervisor.on_exit("publisher", 4, 102.0) == [
        Rolled("publisher"), Died("publisher", 4, 0.0), Spawn("publisher")
    ]  # fmt: skip
    assert supervisor.on_ready("publisher", 103.0) == [AllReady()]


def test_another_child_that_dies_meanwhile_is_waited_for() -> None:
    supervisor = running(*SERVICES)
    supervisor.roll(100.0)
    supervisor.on_exit("publisher", 0, 101.0)
    supervisor.on_exit("concierge", 1, 101.0)
    assert supervisor.on_ready("publisher", 102.0) == []
    assert supervisor.on_ready("concierge", 103.0) == [AllReady(), Terminate("gateway-1")]


def test_a_request_during_a_restart_waits_until_all_are_ready() -> None:
    supervisor = running(*SERVICES)
    supervisor.on_exit("gateway-1", 1, 100.0)
    assert supervisor.roll(100.0) == []
    assert supervisor.on_ready("gateway-1", 101.0) == [AllReady(), Terminate("publisher")]


def test_a_stop_ends_a_rolling_restart() -> None:
    supervisor = running(*SERVICES)
    supervisor.roll(100.0)
    assert Terminate("publisher") in supervisor.stop(101.0)
    supervisor.on_exit("gateway-1", 0, 102.0)
    supervisor.on_exit("concierge", 0, 102.0)
    assert supervisor.on_exit("publisher", 0, 102.0) == [Finish(exit_codes.OK)]
