"""Which publisher is tried when: preference, delays, and the one log that all must share."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lanecast.core.backoff import BackoffPolicy
from lanecast.core.targets import STABLE_SECONDS, Standing, TargetRing

POLICY = BackoffPolicy(first=1.0, maximum=8.0)
STABLE = STABLE_SECONDS + 1


def most(_: float, high: float) -> float:
    return high


def make(*names: str, any_log: bool = False) -> TargetRing:
    return TargetRing(names, any_log=any_log, policy=POLICY, uniform=most)


def test_the_first_is_preferred_and_tried_at_once() -> None:
    assert make("a", "b").next(100.0) == ("a", 0.0)


def test_one_that_fails_lets_the_others_come_first_and_waits_longer_each_time() -> None:
    ring = make("a", "b")
    ring.failed("a", 100.0)
    assert ring.next(100.0) == ("b", 0.0)
    ring.failed("b", 100.0)
    assert ring.next(100.0) == ("a", 1.0)
    ring.failed("a", 101.0)
    assert ring.next(101.0) == ("b", 0.0)
    ring.failed("b", 101.0)
    assert ring.next(101.0) == ("a", 2.0)


def test_delays_end_at_the_maximum() -> None:
    ring = make("a")
    for _ in range(40):
        ring.failed("a", 100.0)
    assert ring.next(100.0) == ("a", 8.0)


def test_who_loses_a_connection_waits_before_trying_the_next() -> None:
    ring = make("a", "b")
    ring.opened("a", "log", 100.0)
    ring.failed("a", 100.0 + STABLE)
    assert ring.next(100.0 + STABLE) == ("b", 1.0)


def test_only_one_that_was_open_for_a_while_begins_anew() -> None:
    ring = make("a")
    for _ in range(3):
        ring.failed("a", 100.0)
    ring.opened("a", "log", 100.0)
    ring.failed("a", 100.0)
    assert ring.next(100.0) == ("a", 8.0)
    ring.opened("a", "log", 200.0)
    ring.failed("a", 200.0 + STABLE)
    assert ring.next(200.0 + STABLE) == ("a", 1.0)


def test_one_that_was_left_may_be_used_again_at_once() -> None:
    ring = make("a", "b")
    ring.failed("a", 100.0)
    ring.opened("b", "log", 100.0)
    ring.left("b")
    assert ring.next(101.0) == ("a", 0.0)
    assert ring.preferred("b") == ["a"]
    assert ring.preferred("a") == []


def test_a_target_with_another_log_is_foreign() -> None:
    ring = make("a", "b")
    assert ring.opened("a", "one", 0.0) is Standing.SAME
    assert ring.opened("b", "two", 0.0) is Standing.FOREIGN
    assert ring.log_id == "one"
    assert ring.opened("a", "one", 0.0) is Standing.SAME


def test_a_log_that_no_target_has_any_more_was_replaced() -> None:
    ring = make("a", "b")
    ring.opened("a", "one", 0.0)
    ring.opened("b", "one", 0.0)
    assert ring.opened("a", "two", 0.0) is Standing.FOREIGN, "b still has the first one, for all we know"
    assert ring.opened("b", "two", 0.0) is Standing.REPLACED
    assert ring.opened("a", "two", 0.0) is Standing.SAME


def test_a_single_target_may_replace_its_log() -> None:
    ring = make("a")
    ring.opened("a", "one", 0.0)
    assert ring.opened("a", "two", 0.0) is Standing.REPLACED


def test_any_log_is_taken_where_that_is_wanted() -> None:
    ring = make("a", "b", any_log=True)
    ring.opened("a", "one", 0.0)
    assert ring.opened("b", "two", 0.0) is Standing.REPLACED


def test_a_service_that_names_no_log_is_taken() -> None:
    ring = make("a", "b")
    assert ring.opened("a", "", 0.0) is Standing.SAME
    assert ring.opened("b", "one", 0.0) is Standing.SAME
    assert ring.opened("a", "", 0.0) is Standing.SAME
    assert ring.log_id == "one"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["open", "fail", "leave"]), st.floats(0, 5))),
    st.floats(0, 1),
)
@settings(max_examples=200, deadline=None)
def test_there_is_always_a_target_within_the_longest_delay(steps: list[tuple[str, str, float]], share: float) -> None:
    ring = TargetRing("abc", policy=POLICY, uniform=lambda low, high: low + share * (high - low))
    now = 0.0
    for name, what, seconds in steps:
        now += seconds
        if what == "open":
            ring.opened(name, "log", now)
        elif what == "fail":
            ring.failed(name, now)
        else:
            ring.left(name)
        target, delay = ring.next(now)
        assert target in "abc"
        assert 0.0 <= delay <= POLICY.maximum
