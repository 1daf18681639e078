"""How cost grows: with events, with deliveries, and with channels and connections at the same load.

Run by hand: `python -m bench.growth`. Lanecast alone, one thing changed at a time, short runs; `--repeat` goes through
all of them again, so that a slow minute of the machine does not meet one point only. Prints the processor time of the
servers at each point with a line fitted through them, and writes everything as JSON to bench/results/.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

from bench import machine, render
from bench.run import run_once
from bench.scenario import Load, Scenario
from bench.systems.lanecast import Lanecast
from bench.tables import Table

_MIX = {"CRITICAL": 1.0, "HIGH": 9.0, "NORMAL": 60.0, "LOW": 30.0}
_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that grows while the rest stays."""

    name: str
    unit: str
    points: tuple[tuple[float, Scenario], ...]
    """What is on the axis, and the scenario at that point."""


def axes(seconds: float) -> tuple[Axis, ...]:
    """Return what is measured."""

    def at(sockets: int, channels: int, rate: float) -> Scenario:
        load = (Load(rate, _MIX),)
        return Scenario("growth", "growth", sockets, channels, load, seconds=seconds, warmup_seconds=2.0)

    return (
        Axis("events, one delivery each", "events/s", tuple(
            (rate, at(1_000, 1_000, rate)) for rate in (500, 1_000, 2_000, 4_000, 8_000)
        )),
        Axis("sockets on 10 channels, 100 events/s", "sockets", tuple(
            (sockets, at(sockets, 10, 100)) for sockets in (100, 500, 1_000, 2_000)
        )),
        Axis("channels with a connection each, 2,000 events/s", "channels", tuple(
            (count, at(count, count, 2_000)) for count in (500, 1_000, 2_000, 4_000)
        )),
    )  # fmt: skip


async def measure(axis: Axis, repeat: int) -> list[dict[str, Any]]:
    """Return a figure for each point and run."""
    found: list[dict[str, Any]] = []
    for number in range(1, repeat + 1):
        for value, scenario in axis.points:
            sys.stderr.write(f"{axis.name}: {value:,.0f} {axis.unit}, run {number}\n")
            with tempfile.TemporaryDirectory(prefix="lanecast-bench-") as folder:
                run = await run_once(Lanecast(), scenario, Path(folder), lambda _share, _text: None)
            found.append({"axis": axis.name, "value": value, "repeat": number, **_figures(run)})
    return found


def _figures(run: dict[str, Any]) -> dict[str, Any]:
    cost, account = run["cost"], run["account"]
    return {
        "deliveries_per_second": cost["deliveries_per_second"],
        "cpu_share": cost["server_cpu_seconds"] / cost["seconds"],
        "p99_ms": run["windows"]["all"]["ALL"]["p99_ms"],
        "idle": cost["idle"],
        "steal": cost["steal"],
        "lost": account["lost"],
        "duplicated": account["duplicated"],
    }


def table(axis: Axis, found: list[dict[str, Any]]) -> Table:
    """Return the curve of one axis: medians over the runs."""
    rows: list[tuple[str, ...]] = []
    xs: list[float] = []
    ys: list[float] = []
    for value, _ in axis.points:
        mine = [each for each in found if each["value"] == value]
        share = median(each["cpu_share"] for each in mine)
        deliveries = median(each["deliveries_per_second"] for each in mine)
        xs.append(value)
        ys.append(share)
        rows.append((
            f"{value:,.0f}",
            f"{deliveries:,.0f}",
            f"{share * 100:.1f} %",
            f"{share / deliveries * 1e6:.1f}",
            f"{median(each['p99_ms'] for each in mine):.1f}",
            f"{sum(each['lost'] + each['duplicated'] for each in mine)}",
        ))  # fmt: skip
    slope, base = linear_regression(xs, ys)
    note = f"line through these points: {base * 100:.1f} % of a core and {slope * 1e6:.2f} µs for one of {axis.unit}"
    columns = (axis.unit, "deliveries/s", "servers, of a core", "µs a delivery", "p99 ms", "lost or doubled")
    return Table(f"Growth with {axis.name}", columns, tuple(rows), [note])


def main() -> None:
    """Measure all axes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    machine.raise_open_files_limit()
    result: dict[str, Any] = {"started": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine.facts()}
    points = result["points"] = []
    for axis in axes(options.seconds):
        found = asyncio.run(measure(axis, options.repeat))
        points += found
        render.to_console([table(axis, found)])
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"growth-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(result, indent=1))
    sys.stdout.write(f"written: {path}\n")


if __name__ == "__main__":
    main()
