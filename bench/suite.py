"""Several runs of several systems: alternation, floor, capacity probes, sweeps, and the files of a result.

Owns the order of runs and what is written to bench/results/.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import floor, machine, plots, render, systems, tables
from bench.run import run_once
from bench.scenario import Scenario, Window
from bench.search import Search
from bench.servers import in_real_time
from bench.systems.base import System

RESULTS = Path(__file__).parent / "results"
FORMAT = 1
FLOOR_SECONDS = 1.0
MAX_FLOOR_RATE = 20_000.0
PROBE_SECONDS = 5.0
SWEEP_SECONDS = 8.0
SWEEP_WARMUP_SECONDS = 2.0

Tick = Callable[[str, float, str], None]
"""Told which run it is, the share of it that is done, and what is going on."""


@dataclass(frozen=True, slots=True)
class Written:
    """Files of one result."""

    data: Path
    page: Path
    picture: Path


def available(names: Sequence[str]) -> tuple[list[System], list[str]]:
    """Return the systems that can run here, and a sentence for each that cannot."""
    found: list[System] = []
    problems: list[str] = []
    for name in names:
        system = systems.get(name)
        problem = system.missing()
        if problem is None:
            found.append(system)
        else:
            problems.append(f"{name} is left out: {problem}")
    return found, problems


async def run_suite(scenario: Scenario, chosen: Sequence[System], repeat: int, tick: Tick) -> dict[str, Any]:
    """Run every system `repeat` times, in turns, so that a slow minute of the machine hits all of them alike."""
    machine.raise_open_files_limit()
    result = _head(scenario)
    result["runs"] = runs = []
    capacities: dict[str, float] = {}
    for number in range(1, repeat + 1):
        # The order turns by one each time: nobody always goes first.
        shift = (number - 1) % len(chosen)
        for system in (*chosen[shift:], *chosen[:shift]):
            label = f"{system.name} {number}/{repeat}"
            adapted = scenario
            if any(load.capacity_factor for load in scenario.loads):
                if system.name not in capacities:
                    capacities[system.name] = await _capacity(system, scenario, tick)
                adapted = at_capacity(scenario, capacities[system.name])
            runs.append(await _measured(system, adapted, number, label, tick))
    result["capacities"] = capacities
    return result


def _head(scenario: Scenario) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "scenario": scenario.as_dict(),
        "machine": {**machine.facts(), "scheduling": "realtime" if in_real_time() else "normal"},
    }


async def _measured(system: System, scenario: Scenario, number: int, label: str, tick: Tick) -> dict[str, Any]:
    tick(label, 0.0, "measuring the floor")
    before = await _floor(scenario)
    with tempfile.TemporaryDirectory(prefix="lanecast-bench-") as folder:
        run = await run_once(system, scenario, Path(folder), lambda share, text: tick(label, share, text))
    tick(label, 1.0, "measuring the floor")
    after = await _floor(scenario)
    run |= {"repeat": number, "floor": [before, after]}
    run["marks"] = tables.marks(run)
    run["offered"] = [load.events_per_second for load in scenario.loads]
    tick(label, 1.0, "done")
    return run


async def _floor(scenario: Scenario) -> dict[str, float]:
    rate = min(MAX_FLOOR_RATE, sum(load.events_per_second for load in scenario.loads))
    measured = await asyncio.to_thread(floor.measure, rate, FLOOR_SECONDS)
    return {"rate": measured.rate, **measured.round_trip.as_dict()}


async def _capacity(system: System, scenario: Scenario, tick: Tick) -> float:
    """Return the deliveries/s that get through when the loads with a capacity factor are offered alone."""
    loads = tuple(
        replace(load, capacity_factor=0.0, begin=0.0, end=1.0) for load in scenario.loads if load.capacity_factor
    )
    probe = replace(scenario, loads=loads, seconds=PROBE_SECONDS, windows=(Window("all"),))
    label = f"{system.name} capacity"
    with tempfile.TemporaryDirectory(prefix="lanecast-bench-") as folder:
        run = await run_once(system, probe, Path(folder), lambda share, text: tick(label, share, text))
    received: float = run["cost"]["received_per_second"]
    return received


def at_capacity(scenario: Scenario, deliveries_per_second: float) -> Scenario:
    """Return the scenario with each load that has a capacity factor at that multiple of what gets through."""
    events = deliveries_per_second * scenario.channels / scenario.sockets
    loads = tuple(
        replace(load, events_per_second=max(1.0, events * load.capacity_factor)) if load.capacity_factor else load
        for load in scenario.loads
    )
    return replace(scenario, loads=loads)


async def sweep(scenario: Scenario, chosen: Sequence[System], p99_ms: float, tick: Tick) -> dict[str, Any]:
    """Find the highest rate of each system at which p99 over all lanes is at most `p99_ms` and nothing is lost."""
    machine.raise_open_files_limit()
    result = _head(scenario) | {"p99_ms": p99_ms, "found": []}
    for system in chosen:
        search, trials = Search(), []
        while not search.done:
            scaled = scenario.scaled(search.factor)
            label = f"{system.name} at {scaled.deliveries_per_second:,.0f}/s"
            trial = await _trial(system, scaled, p99_ms, label, tick)
            trials.append(trial)
            search.report(held=trial["held"])
        best = scenario.scaled(search.best).deliveries_per_second if search.best else 0.0
        result["found"].append({"system": system.name, "deliveries_per_second": best, "trials": trials})
    return result


async def _trial(system: System, scenario: Scenario, p99_ms: float, label: str, tick: Tick) -> dict[str, Any]:
    run = await _measured(system, scenario, 1, label, tick)
    overall = next((lanes["ALL"] for lanes in run["windows"].values() if "ALL" in lanes), None)
    p99 = overall["p99_ms"] if overall else None
    account = run["account"]
    clean = not account["lost"] and not account["duplicated"] and not account["refused_events"]
    return {
        "deliveries_per_second": scenario.deliveries_per_second,
        "p99_ms": p99,
        "p50_ms": overall["p50_ms"] if overall else None,
        "held": bool(clean and p99 is not None and p99 <= p99_ms),
        "account": account,
        "cost": run["cost"],
        "marks": run["marks"],
        "floor": run["floor"],
        "lateness": run["generator"]["lateness"],
    }


def write(result: dict[str, Any], shown: Sequence[tables.Table], kind: str, folder: Path = RESULTS) -> Written:
    """Write the result as JSON, as a page and as a picture; return where."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = result["started"].replace(":", "").replace("+0000", "Z").replace("-", "")
    base = folder / f"{result['scenario']['name']}-{kind}-{stamp}"
    written = Written(base.with_suffix(".json"), base.with_suffix(".html"), base.with_suffix(".png"))
    written.data.write_text(json.dumps(result, indent=1) + "\n")
    picture = plots.draw(result) if "runs" in result else plots.draw_sweep(result)
    written.picture.write_bytes(picture)
    title = f"Lanecast benchmark: {result['scenario']['title']}"
    written.page.write_text(render.to_html(title, result["machine"], shown, [picture]))
    return written


def written_as_dict(written: Written) -> dict[str, str]:
    """Return the file names as text, for machine-readable output."""
    return {name: str(path) for name, path in asdict(written).items()}
