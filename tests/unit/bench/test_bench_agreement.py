"""What the comparison says of figures that agree, and of figures that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench import agreement
from bench.witness import COLUMNS, SO_TIMESTAMPNS, kernel_time
from lanecast.core.priority import Priority


def seen(ways: list[tuple[int, ...]]) -> dict[str, Any]:
    columns = np.array(ways, dtype=np.int64)
    return {name: columns[:, at] for at, name in enumerate(COLUMNS)}


def figure(p50: float, p99: float, mean: float = 0.0) -> dict[str, float]:
    return {"count": 100, "p50_ms": p50, "p99_ms": p99, "mean_ms": mean}


LANE = int(Priority.HIGH)
# Handed over at 0, created 1, sent 2, accepted 3, at the receiver's kernel after 4 to 103 ms, read 1 ms later.
WAYS = seen([(1, LANE, 0, 1_000_000, 2_000_000, 3_000_000, n * 1_000_000, (n + 1) * 1_000_000) for n in range(4, 104)])


def test_figures_of_both_sides_stand_beside_each_other() -> None:
    hops = {hop: {"HIGH": figure(0, 0, 53.5 / 7)} for hop in agreement._HOPS}
    reported = {"end_to_end": {"HIGH": figure(52.0, 101.0)}, "server": {"HIGH": figure(50.5, 120.0)}, "hops": hops}
    rows = {row.figure: row for row in agreement.compare(WAYS, reported)}
    assert (rows["end to end, p50"].observed_ms, rows["end to end, p99"].observed_ms) == (52.0, 101.0)
    assert (rows["server, p50"].observed_ms, rows["server, p99"].observed_ms) == (50.0, 99.0)
    assert rows["server, p50"].difference == pytest.approx(0.01)
    assert rows["server, p99"].difference == pytest.approx(120 / 99 - 1)
    assert rows["hops, mean"].observed_ms == 53.5
    assert rows["hops, mean"].difference == pytest.approx(0)
    later = {row.figure: row for row in agreement.compare(WAYS, reported, return_ns=500_000)}
    assert later["server, p50"].observed_ms == 50.5
    assert later["end to end, p50"].observed_ms == 52.0
    assert later["hops, mean"].observed_ms == pytest.approx(54.0)
    marked = [line for line in agreement.table([vars_of(row) for row in rows.values()]) if line.endswith("<-")]
    assert len(marked) == 1
    assert "server, p99" in marked[0]


def vars_of(row: agreement.Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in (*agreement.Row.__slots__, "difference")}


def test_stamps_that_are_not_in_the_order_of_the_way_are_counted() -> None:
    assert agreement.out_of_order(WAYS) == 0
    assert agreement.out_of_order(seen([(1, LANE, 0, 1, 3, 2, 5, 6), (1, LANE, 2, 1, 3, 4, 5, 4)])) == 3


def test_the_kernels_stamp_is_found_among_what_came_with_the_data() -> None:
    stamp = (7).to_bytes(8, "little") + (9).to_bytes(8, "little")
    assert kernel_time([(1, 99, b""), (1, SO_TIMESTAMPNS, stamp)], 1) == 7_000_000_009
    assert kernel_time([], 1) == 1


def test_how_long_a_write_takes_to_return_is_measured_on_a_real_connection() -> None:
    assert 0 < agreement.write_return_ns(3, 0.0) < 1_000_000_000
