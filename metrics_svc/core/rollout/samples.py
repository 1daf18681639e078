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
        self._look = _empty_look()
        self._looks: deque[Counts] = deque(maxlen=MAX_LOOKS)
        self._silence = [0.0] * len(LANES)
        self._totals = [0] * len(LANES)
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
        for store in (self._pooled, self._newest):
            store[_LANE[lane], _ARM[arm]] += counts
        if arm is Arm.CONTROL:
            self._look[_LANE[lane]] += counts.sum(axis=0)

    def fault(self, arm: Arm, kind: str, number: int) -> None:
        """Count events that were lost, doubled or out of order."""
        self._faults[arm, kind] = self._faults.get((arm, kind), 0) + number

    def faults(self, arm: Arm, kind: str) -> int:
        """Return how many there were."""
        return self._faults.get((arm, kind), 0)

    def restart(self) -> None:
        """Forget the latencies: the analysis begins now. What must never happen is not forgotten."""
        self._pooled, self._newest, self._older = _empty(), _empty(), _empty()
        self._look = _empty_look()
        self._looks.clear()
        self._age = 0.0
        self._silence = [0.0] * len(LANES)

    def pass_time(self, seconds: float) -> None:
        """End a look: the newest window grows older."""
        for index, was in enumerate(self._totals):
            total = self._totals[index] = int(self._pooled[index].sum())
            self._silence[index] = 0.0 if total != was else self._silence[index] + seconds
        self._looks.append(self._look)
        self._look = _empty_look()
        self._age += seconds
        if self._age >= self._window:
            self._age = 0.0
            self._older, self._newest = self._newest, _empty()

    def of(self, lane: Priority, arm: Arm, *, recent: bool = False) -> Counts:
        """Return the counts of an arm in a lane, pooled or of the newest one to two windows."""
        place = _LANE[lane], _ARM[arm]
        found: Counts = self._newest[place] + self._older[place] if recent else self._pooled[place]
        return found

    def silence(self, lane: Priority) -> float:
        """Return for how long nothing has come in a lane, in seconds of ended looks."""
        return self._silence[_LANE[lane]]

    def control_looks(self, lane: Priority) -> list[Counts]:
        """Return what the control showed in each look, its parts together."""
        return [look[_LANE[lane]] for look in self._looks]

    def _add(self, lane: Priority, arm: Arm, part: int, indexes: Sequence[int], counts: Counts) -> None:
        if arm in _ARM and 0 <= part < PARTS:
            place = _LANE[lane], _ARM[arm], part
            where = np.asarray(indexes, np.int64)
            for store in (self._pooled, self._newest):
                np.add.at(store[place], where, counts)
                np.maximum(store[place], 0, out=store[place])  # a report taken back after `restart`
            if arm is Arm.CONTROL:
                np.add.at(self._look[_LANE[lane]], where, counts)
                np.maximum(self._look[_LANE[lane]], 0, out=self._look[_LANE[lane]])


def _empty() -> Counts:
    return np.zeros((len(LANES), len(_ARM), PARTS, BUCKETS), np.int64)


def _empty_look() -> Counts:
    return np.zeros((len(LANES), BUCKETS), np.int64)
