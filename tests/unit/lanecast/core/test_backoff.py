"""Delays between attempts."""

from __future__ import annotations

from lanecast.core.backoff import Backoff, BackoffPolicy


def test_the_ceiling_doubles_up_to_the_maximum_and_starts_again() -> None:
    backoff = Backoff(BackoffPolicy(first=0.1, maximum=0.5), uniform=lambda _, high: high)
    assert [backoff.next_delay() for _ in range(5)] == [0.1, 0.2, 0.4, 0.5, 0.5]
    assert backoff.attempt == 5
    backoff.reset()
    assert backoff.next_delay() == 0.1


def test_delays_are_spread_over_the_whole_range() -> None:
    ranges: list[tuple[float, float]] = []
    backoff = Backoff(uniform=lambda low, high: ranges.append((low, high)) or low)  # type: ignore[func-returns-value]
    assert backoff.next_delay() == 0.0
    assert ranges == [(0.0, 0.05)]
    assert 0.0 <= Backoff().next_delay() <= 0.05


def test_many_attempts_do_not_overflow() -> None:
    backoff = Backoff(uniform=lambda _, high: high)
    assert [backoff.next_delay() for _ in range(5_000)][-1] == 2.0
