"""The clock filter against clocks whose true difference is known."""

from __future__ import annotations

from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from lanecast.core.clock import DRIFT, RESOLUTION_NS, SAME, UNKNOWN, ClockFilter

MS = 1_000_000
EPOCH = 1_700_000_000_000_000_000


class World:
    """Two clocks, and messages that take their time between them."""

    def __init__(self, ahead_ns: int, drift: float = 0.0) -> None:
        self.now_ns = 0
        self._ahead_ns = ahead_ns
        self._drift = drift
        self.filter = ClockFilter()
        self.widths: list[tuple[int, int]] = []

    @property
    def difference_ns(self) -> int:
        """Their clock minus ours, the truth."""
        return self._ahead_ns + round(self.now_ns * self._drift)

    def _theirs(self) -> int:
        return EPOCH + self.now_ns + self.difference_ns

    def exchange(self, there_ns: int, held_ns: int, back_ns: int) -> None:
        """Ask and be answered."""
        sent = EPOCH + self.now_ns
        self.now_ns += there_ns
        received_there = self._theirs()
        self.now_ns += held_ns
        sent_there = self._theirs()
        self.now_ns += back_ns
        self.filter.add(sent, received_there, sent_there, EPOCH + self.now_ns, self.now_ns)
        self.widths.append((there_ns + back_ns, self.now_ns))

    def step(self, by_ns: int) -> None:
        """Set their clock."""
        self._ahead_ns += by_ns


delays = st.integers(min_value=1_000, max_value=200 * MS)
exchanges = st.lists(st.tuples(delays, st.integers(0, 10 * MS), delays, st.integers(0, 40_000 * MS)), min_size=1)


@settings(max_examples=effort(60), deadline=None)
@given(
    st.integers(-(10**15), 10**15),
    st.floats(-DRIFT, DRIFT),
    exchanges,
    st.integers(0, 3_600_000 * MS),
)
def test_the_truth_lies_within_the_bound_and_the_bound_is_no_wider_than_promised(
    ahead_ns: int, drift: float, ways: list[tuple[int, int, int, int]], later_ns: int
) -> None:
    world = World(ahead_ns, drift)
    for there, held, back, pause in ways:
        world.exchange(there, held, back)
        reading = world.filter.read(world.now_ns)
        assert abs(reading.shift_ns - world.difference_ns) <= reading.bound_ns
        world.now_ns += pause
    world.now_ns += later_ns
    reading = world.filter.read(world.now_ns)
    assert abs(reading.shift_ns - world.difference_ns) <= reading.bound_ns
    recent = [each for each in world.widths[-64:] if world.widths[-1][1] - each[1] <= 600_000 * MS]
    shortest, at = min(recent)
    during = shortest + 10 * MS
    assert reading.bound_ns <= shortest / 2 + (world.now_ns - at + 2 * during) * DRIFT + 2 * RESOLUTION_NS


@settings(max_examples=effort(30), deadline=None)
@given(st.integers(1, 50), st.integers(1, 50))
def test_one_short_exchange_beats_many_long_ones(long_ones: int, after: int) -> None:
    world = World(7 * MS)
    for _ in range(long_ones):
        world.exchange(90 * MS, 0, MS)
    world.exchange(MS // 10, 0, MS // 10)
    for _ in range(after):
        world.exchange(MS, 0, 90 * MS)
    reading = world.filter.read(world.now_ns)
    assert reading.bound_ns < MS


def test_on_one_host_there_is_one_clock_until_it_is_shown_otherwise() -> None:
    world = World(0)
    assert world.filter.read(0) == UNKNOWN
    world.filter.share("", "")
    assert world.filter.read(0) == UNKNOWN
    world.filter.share("a", "b")
    assert world.filter.read(0) == UNKNOWN
    world.filter.share("a", "a")
    assert world.filter.read(0) == SAME
    world.exchange(MS, 0, 3 * MS)
    assert world.filter.read(world.now_ns) == SAME
    other = World(200 * MS)  # the name is the same, the clock is not: a copied machine
    other.filter.share("a", "a")
    other.exchange(MS, 0, MS)
    reading = other.filter.read(other.now_ns)
    assert (reading.shift_ns, reading.bound_ns) == (200 * MS, MS + 2 * MS * DRIFT + RESOLUTION_NS)


def test_after_a_step_of_either_clock_only_what_came_since_counts() -> None:
    world = World(0)
    for _ in range(20):
        world.exchange(MS // 10, 0, MS // 10)
    world.step(50 * MS)
    world.exchange(MS, 0, MS)
    assert world.filter.read(world.now_ns).shift_ns == 50 * MS
    world.filter.reset()
    assert world.filter.read(world.now_ns) == UNKNOWN


def test_an_exchange_during_which_a_clock_was_set_back_says_nothing() -> None:
    world = World(0)
    world.filter.add(EPOCH, EPOCH - MS, EPOCH + MS, EPOCH + MS // 2, MS)
    assert world.filter.read(MS) == UNKNOWN
