"""Counting the events of channels, and finding the busiest."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from publisher_svc.core import activity
from publisher_svc.core.activity import SLICE_SECONDS, SLICES, Activity, greatest

T = TypeVar("T")


def finished(work: Generator[None, None, T]) -> T:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=20), min_size=1, max_size=2 * SLICES))
def test_rates_are_those_of_the_last_whole_slices(slices: list[list[str]]) -> None:
    counted = Activity()
    for events in slices:
        counted.count(events)
        counted.turn()
    kept = slices[-SLICES:]
    expected = {
        channel: sum(events.count(channel) for events in kept) / (SLICE_SECONDS * len(kept))
        for channel in "abc"
        if any(channel in events for events in kept)
    }
    rates = finished(counted.rates())
    assert rates.keys() == expected.keys()
    assert all(abs(rates[channel] - expected[channel]) < 1e-9 for channel in rates)


def test_channels_beyond_the_limit_are_counted_together() -> None:
    counted = Activity()
    for number in range(activity.MAX_CHANNELS + 5):
        counted.count([f"c{number}", "c0"])
    assert counted.uncounted == 5
    assert len(finished(counted.rates())) == activity.MAX_CHANNELS


@given(st.dictionaries(st.text("ab$", min_size=1, max_size=3), st.floats(0, 10), max_size=20), st.integers(1, 5))
def test_the_greatest_come_first_without_reserved_channels(measure: dict[str, float], limit: int) -> None:
    found = finished(greatest({**measure, "$lanecast:perf:x:0": 99.0}, limit))
    assert found == [name for _, name in sorted(((v, n) for n, v in measure.items()), reverse=True)][:limit]


def test_finding_them_gives_way() -> None:
    measure = {f"c{number}": float(number) for number in range(5 * activity.STEPS)}
    work = greatest(measure, 3)
    assert sum(1 for _ in work) == 5
    assert finished(greatest(measure, 2)) == ["c4999", "c4998"]
