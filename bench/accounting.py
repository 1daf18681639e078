"""What a receiver process has seen: latencies, and each event of each socket counted.

Owns the exact account of losses and duplicates. Marks are collected and then taken in by the thousand with numpy, so
that a delivery costs the receiver well below a microsecond. Pure: it is given times and marks.

Latencies are counted in the buckets of `lanecast.core.sketch.Sketch`, which the services count theirs in as well, so
figures from both sides can be compared without rounding apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import mark
from bench.scenario import Scenario
from bench.schedule import event_count, events_in_channel
from lanecast.core.sketch import BUCKETS, MIN_INDEX, Sketch

_PER_OCTAVE = 64
_LANE_ROWS = 5
"""Lanes are numbered from 1; row 0 stays empty."""
_MOST_SLICES = 2_000
_SHIFT = MIN_INDEX / _PER_OCTAVE + np.log2(1e9)


def bucket_of(durations_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each duration; must agree with `Sketch.record_ns`."""
    clipped = np.maximum(durations_ns, 1)
    index = np.ceil((np.log2(clipped) - _SHIFT) * _PER_OCTAVE).astype(np.int64) - 1
    clamped: NDArray[np.int64] = np.clip(index, 0, BUCKETS - 1)
    return clamped


class Histograms:
    """Several latency histograms, one per row, filled by the thousand."""

    def __init__(self, rows: int) -> None:
        self.counts = np.zeros((rows, BUCKETS), dtype=np.int64)
        self.sums = np.zeros(rows, dtype=np.int64)
        self.maxima = np.zeros(rows, dtype=np.int64)
        self.skewed = np.zeros(rows, dtype=np.int64)

    def record(self, rows: NDArray[np.int64], durations_ns: NDArray[np.int64]) -> None:
        """Count each duration in its row. Negative ones are counted as skew only."""
        negative = durations_ns < 0
        if negative.any():
            np.add.at(self.skewed, rows[negative], 1)
            rows, durations_ns = rows[~negative], durations_ns[~negative]
        np.add.at(self.counts.reshape(-1), rows * BUCKETS + bucket_of(durations_ns), 1)
        np.add.at(self.sums, rows, durations_ns)
        np.maximum.at(self.maxima, rows, durations_ns)

    def sketch(self, row: int) -> Sketch:
        """Return one row as a sketch."""
        result = Sketch()
        counts = self.counts[row]
        result.counts = [int(count) for count in counts]
        result.sum_ns = int(self.sums[row])
        result.maximum_ns = int(self.maxima[row])
        result.skewed = int(self.skewed[row])
        filled = np.flatnonzero(counts)
        if len(filled):
            low = 2.0 ** ((MIN_INDEX + int(filled[0])) / _PER_OCTAVE)
            result.minimum_ns = min(int(low * 1e9), result.maximum_ns)
        return result

    def as_arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return the arrays under names that begin with `prefix`, to be saved with numpy."""
        names = ("counts", "sums", "maxima", "skewed")
        return {f"{prefix}_{name}": getattr(self, name) for name in names}

    @classmethod
    def merged(cls, parts: list[dict[str, NDArray[Any]]], prefix: str) -> Histograms:
        """Add up what several processes have saved."""
        result = cls(parts[0][f"{prefix}_sums"].shape[0])
        for part in parts:
            result.counts += part[f"{prefix}_counts"]
            result.sums += part[f"{prefix}_sums"]
            result.skewed += part[f"{prefix}_skewed"]
            result.maxima = np.maximum(result.maxima, part[f"{prefix}_maxima"])
        return result


class Tally:
    """The account of one receiver process: sockets `first`, `first` + `step`, … of the scenario."""

    def __init__(self, scenario: Scenario, start_ns: int, sockets: list[int]) -> None:
        self._scenario = scenario
        self._start_ns = start_ns
        self._spans = [scenario.window_span(window) for window in scenario.windows]
        slices = min(_MOST_SLICES, int(scenario.total_seconds / scenario.slice_seconds) + 1)
        self.latency = Histograms(len(self._spans) * _LANE_ROWS)
        self.from_send = Histograms(len(self._spans) * _LANE_ROWS)
        self.over_time = Histograms(slices)
        self._channels = np.array([socket % scenario.channels for socket in sockets], dtype=np.int64)
        # One byte per socket and event: how often it came.
        self.seen = [
            np.zeros((len(sockets), events_in_channel(event_count(scenario, load), scenario.channels, 0)), np.uint8)
            for load in scenario.loads
        ]
        self.received = 0
        self.measured = 0
        """Deliveries of events that were due after the warm-up."""
        self.foreign = 0
        """Deliveries that this socket did not ask for, or of events that were never planned."""

    def take(self, encoded: list[bytes], times_ns: list[int], rows: list[int], counts: list[int]) -> None:
        """Take in what was read: chunk i came at `times_ns[i]` on socket `rows[i]` and had `counts[i]` marks."""
        marks = mark.decode(encoded)
        times = np.repeat(np.array(times_ns, dtype=np.int64), counts)
        sockets = np.repeat(np.array(rows, dtype=np.int64), counts)
        self.received += len(marks)
        known = self._count(marks, sockets)
        if not known.all():
            self.foreign += int((~known).sum())
            marks, times = marks[known], times[known]
        self._measure(marks, times)

    def _count(self, marks: NDArray[np.void], sockets: NDArray[np.int64]) -> NDArray[np.bool_]:
        known: NDArray[np.bool_] = marks["channel"] == self._channels[sockets]
        known &= marks["load"] < len(self.seen)
        for number, seen in enumerate(self.seen):
            chosen = known & (marks["load"] == number)
            sequence = marks["sequence"].astype(np.int64)
            outside = chosen & (sequence >= seen.shape[1])
            known &= ~outside
            chosen &= ~outside
            np.add.at(seen.reshape(-1), sockets[chosen] * seen.shape[1] + sequence[chosen], 1)
        return known

    def _measure(self, marks: NDArray[np.void], times: NDArray[np.int64]) -> None:
        scheduled = marks["scheduled"].astype(np.int64)
        lanes = marks["lane"].astype(np.int64)
        duration = times - scheduled
        since_send = duration - marks["late"].astype(np.int64) * 1000
        offset = (scheduled - self._start_ns) / 1e9
        self.measured += int((offset >= self._scenario.warmup_seconds).sum())
        for number, (begin, end) in enumerate(self._spans):
            inside = (offset >= begin) & (offset < end)
            rows = number * _LANE_ROWS + lanes[inside]
            self.latency.record(rows, duration[inside])
            # `late` is cut to whole microseconds, so this can be too long by less than one.
            self.from_send.record(rows, np.maximum(since_send[inside], 1))
        slices = np.clip((offset / self._scenario.slice_seconds).astype(np.int64), 0, len(self.over_time.sums) - 1)
        self.over_time.record(slices, duration)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything to be saved with numpy."""
        result = {f"seen_{number}": seen for number, seen in enumerate(self.seen)}
        for prefix in ("latency", "from_send", "over_time"):
            result |= getattr(self, prefix).as_arrays(prefix)
        result["totals"] = np.array([self.received, self.foreign, self.measured])
        return result


def lane_row(window: int, lane: int) -> int:
    """Return the row of a window and lane in `Tally.latency`."""
    return window * _LANE_ROWS + lane


class Account:
    """Losses and duplicates of a run, by lane."""

    def __init__(self) -> None:
        self.expected = np.zeros(_LANE_ROWS, dtype=np.int64)
        self.lost = np.zeros(_LANE_ROWS, dtype=np.int64)
        self.duplicated = np.zeros(_LANE_ROWS, dtype=np.int64)
        self.unexpected = np.zeros(_LANE_ROWS, dtype=np.int64)
        """Deliveries of events that the server had refused, or that were never sent."""

    def add(
        self,
        seen: NDArray[np.uint8],
        channels: NDArray[np.int64],
        lanes: NDArray[np.uint8],
        accepted: NDArray[np.bool_],
    ) -> None:
        """Judge what the sockets of one receiver saw of one load.

        Args:
            seen: How often each socket (row) got each event of its channel (column).
            channels: The channel of each socket.
            lanes: The lane of each event by channel (row) and number (column); 0 where there is no such event.
            accepted: Whether each of them was accepted by the server.
        """
        for channel in np.unique(channels):
            got = seen[channels == channel]
            lane, wanted = lanes[channel], accepted[channel] & (lanes[channel] > 0)
            sockets = len(got)
            np.add.at(self.expected, lane[wanted], sockets)
            np.add.at(self.lost, lane, np.where(wanted, (got == 0).sum(axis=0), 0))
            np.add.at(self.duplicated, lane, np.maximum(got.astype(np.int64) - 1, 0).sum(axis=0))
            np.add.at(self.unexpected, lane, np.where(wanted, 0, (got > 0).sum(axis=0)))


def lane_grid(scenario: Scenario, events: dict[str, NDArray[np.int64]]) -> NDArray[np.uint8]:
    """Return the lane of each event of a load by channel and number, 0 where there is no event."""
    longest = events_in_channel(len(events["lane"]), scenario.channels, 0)
    grid = np.zeros((scenario.channels, longest), dtype=np.uint8)
    grid[events["channel"], events["sequence"]] = events["lane"]
    return grid
