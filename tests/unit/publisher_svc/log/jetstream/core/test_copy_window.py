"""The fold over copies: the same verdict for every reader."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from publisher_svc.log.jetstream.core.window import SETTLING_NS, CopyWindow

SECOND = 10**9


def test_a_copy_names_the_first_one() -> None:
    window = CopyWindow()
    assert window.first(b"a", 1, 0) == 1
    assert window.first(b"a", 2, 119 * SECOND) == 1
    assert window.first(b"b", 3, 119 * SECOND) == 3


def test_an_id_is_forgotten_after_the_window() -> None:
    window = CopyWindow()
    assert window.first(b"a", 1, 5 * SECOND) == 1
    assert window.first(b"a", 2, 5 * SECOND + SETTLING_NS) == 2


def test_old_marks_are_freed() -> None:
    window = CopyWindow()
    for number in range(100):
        window.first(number.to_bytes(4, "big"), number, 0)
    for number in range(100, 200):
        window.first(number.to_bytes(4, "big"), number, 1_000 * SECOND + number)
    assert len(window) == 100


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 70)), min_size=1, max_size=40),
    st.integers(0, 40),
)
def test_a_reader_that_starts_late_agrees_with_one_that_read_all(copies: list[tuple[bytes, int]], start: int) -> None:
    times, now = [], 0
    for _, step in copies:
        now += step * SECOND
        times.append(now)
    everything, late = CopyWindow(), CopyWindow()
    begun = times[start] if start < len(times) else None
    for offset, ((mark, _), time_ns) in enumerate(zip(copies, times, strict=True), 1):
        verdict = everything.first(mark, offset, time_ns) == offset
        if begun is None or time_ns < begun:
            continue
        own = late.first(mark, offset, time_ns) == offset
        if time_ns >= begun + SETTLING_NS:
            assert own == verdict
