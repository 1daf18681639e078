"""What both arms have shown in one generation.

Owns the counts per lane, arm, part and latency bucket, pooled since the analysis began and for the newest minute or
two, and what else was counted: losses, doubles, order. Filled by the shell from what gateways report; read by `rules`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lanecast.core.bucketing import PARTS, Arm
from lanecast.core.priority import LANES, Priority
from lanecast.core.sketch import BUCKETS

Counts: TypeAlias = npt.NDArray[np.int64]
"""Counts of one arm in one lane: parts by latency buckets."""

_LANE = {lane: index for index, lane in enumerate(LANES)}
_ARM = {Arm.CONTROL: 0, Arm.CANDIDATE: 1}

MAX_LOOKS = 120
"""Looks whose control is kept apart, to tell what time does from what the rollout does."""

LEAST_OF_A_LEVEL = 20
"""Deliveries of the control by which a look is levelled; with fewer it waits for the next."""

FAULTS = ("lost", "duplicate", "out_of_order")
"""What must never happen to an event, whatever the policy."""


class Samples:
    """Samples of one generation."""

    def __init__(self, generation: int, window_seconds: float = 60.0) -> None:
        self.generation = generation
        self._window = window_seconds
        self._age = 0.0
        self._pooled = _empty()
        self._newest, self._older = _empty(), _empty()
        self._look = _empty()
        self._looks: deque[Counts] = deque(maxlen=MAX_LOOKS)
        self._levelled, self._unlevelled = _empty(), _empty()
        self._silence = np.zeros((len(LANES), len(_ARM)))
        self._faults: dict[tuple[Arm, str], int] = {}
        self.last_candidate_ns = 0
        """When the last candidate event was delivered."""

    def add(self, lane: Priority, arm: Arm, part: int, indexes: Sequence[int], counts: Iterable[int]) -> None:
        """Count latencies, given as buckets of `lanecast.core.sketch` with the number in each."""
        self._add(lane, arm, part, indexes, np.fromiter(counts, np.int64))

    def take_back(self, lane: Priority, arm: Arm, part: int, indexes: Sequence[int], counts: Iterable[int]) -> None:
        """Undo an `add`: its report comes again, as the beginning of a longer one."""
        self._add(lane, arm, part, indexes, -np.fromiter(counts, np.int64))

    def add_block(self, lane: Priority, arm: Arm, counts: Counts) -> None:
        """Count latencies of a whole arm at once."""
        for store in (self._pooled, self._newest, self._look):
            store[_LANE[lane], _ARM[arm]] += counts

    def fault(self, arm: Arm, kind: str, number: int) -> None:
        """Count events that were lost, doubled or out of order."""
        self._faults[arm, kind] = self._faults.get((arm, kind), 0) + number

    def faults(self, arm: Arm, kind: str) -> int:
        """Return how many there were."""
        return self._faults.get((arm, kind), 0)

    def restart(self) -> None:
        """Forget the latencies: the analysis begins now. What must never happen is not forgotten."""
        self._pooled, self._newest, self._older = _empty(), _empty(), _empty()
        self._look = _empty()
        self._looks.clear()
        self._levelled, self._unlevelled = _empty(), _empty()
        self._age = 0.0
        self._silence[:] = 0.0

    def pass_time(self, seconds: float) -> None:
        """End a look: the newest window grows older."""
        # Negative where a report was taken back in another look than it came in.
        look = np.maximum(self._look, 0)
        self._look = _empty()
        self._silence = np.where(look.any(axis=(2, 3)), 0.0, self._silence + seconds)
        self._looks.append(look[:, _ARM[Arm.CONTROL]].sum(axis=1))
        self._level(look)
        self._age += seconds
        if self._age >= self._window:
            self._age = 0.0
            self._older, self._newest = self._newest, _empty()

    def of(self, lane: Priority, arm: Arm, *, recent: bool = False) -> Counts:
        """Return the counts of an arm in a lane, pooled or of the newest one to two windows."""
        place = _LANE[lane], _ARM[arm]
        found: Counts = self._newest[place] + self._older[place] if recent else self._pooled[place]
        return found

    def levelled(self, lane: Priority, arm: Arm) -> Counts:
        """Return the counts of an arm in a lane with what time has done to both arms taken out.

        Each ended look is moved along the buckets, which are logarithmic, until its control has its median in the
        middle: so counts say how many times as long a delivery took as the control's at that time. Hosts are slow at
        times, for all channels at once; pooled as they are, those times make up the tail of both arms and hide there
        what the candidate does in all others.
        """
        found: Counts = self._levelled[_LANE[lane], _ARM[arm]]
        return found

    def silence(self, lane: Priority, arm: Arm) -> float:
        """Return for how long nothing of an arm has come in a lane, in seconds of ended looks."""
        return float(self._silence[_LANE[lane], _ARM[arm]])

    def control_looks(self, lane: Priority) -> list[Counts]:
        """Return what the control showed in each look, its parts together."""
        return [look[_LANE[lane]] for look in self._looks]

    def _level(self, look: Counts) -> None:
        self._unlevelled += look
        for lane, arms in enumerate(self._unlevelled):
            cumulated = np.cumsum(arms[_ARM[Arm.CONTROL]].sum(axis=0))
            if cumulated[-1] >= LEAST_OF_A_LEVEL:
                median = int(np.searchsorted(cumulated, cumulated[-1] / 2))
                self._levelled[lane] += _moved(arms, BUCKETS // 2 - median)
                arms[:] = 0

    def _add(self, lane: Priority, arm: Arm, part: int, indexes: Sequence[int], counts: Counts) -> None:
        if arm in _ARM and 0 <= part < PARTS:
            place = _LANE[lane], _ARM[arm], part
            where = np.asarray(indexes, np.int64)
            for store in (self._pooled, self._newest):
                np.add.at(store[place], where, counts)
                np.maximum(store[place], 0, out=store[place])  # a report taken back after `restart`
            np.add.at(self._look[place], where, counts)


def _empty() -> Counts:
    return np.zeros((len(LANES), len(_ARM), PARTS, BUCKETS), np.int64)


def _moved(counts: Counts, by: int) -> Counts:
    """Return counts so many buckets further up, or down where it is negative; what would leave stays at the end."""
    found = np.roll(counts, by, axis=-1)
    if by > 0:
        found[..., :by] = 0
        found[..., -1] += counts[..., -by:].sum(axis=-1)
    elif by < 0:
        found[..., by:] = 0
        found[..., 0] += counts[..., :-by].sum(axis=-1)
    return found
