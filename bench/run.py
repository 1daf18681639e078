"""One run: one system under one scenario, from starting its servers to a plain-data result.

Owns the order of things: servers, receivers, generators, the common start, sampling, drain, account.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import accounting, figures, machine, schedule
from bench.accounting import Account, Histograms
from bench.children import Child, ChildError
from bench.scenario import Scenario
from bench.servers import Servers
from bench.systems.base import Endpoints, System
from lanecast.core.priority import LANES
from lanecast.core.sketch import Sketch

START_DELAY_NS = 500_000_000
"""From the word to start until the first event: long enough for every process to hear it."""
_QUIET_SECONDS = 2.0
"""Deliveries are over when none has come for this long."""
_DRAIN_SECONDS = 30.0
_STEP_SECONDS = 0.25

Tick = Callable[[float, str], None]
"""Told the share done (0 to 1) and what is going on."""


@dataclass(frozen=True, slots=True)
class _Sample:
    seconds: float
    servers: dict[str, machine.Usage]
    receivers: machine.Usage
    generators: machine.Usage
    cpu: machine.CpuTimes | None
    received: int

    @property
    def server(self) -> machine.Usage:
        """All server processes together."""
        return sum(self.servers.values(), machine.NO_USAGE)


class Run:
    """One run; use `execute`."""

    def __init__(self, system: System, scenario: Scenario, directory: Path, tick: Tick) -> None:
        self._system = system
        self._scenario = scenario
        self._directory = directory
        self._tick = tick
        self._servers = Servers(directory)
        self._receivers: list[Child] = []
        self._generators: list[Child] = []
        self._samples: list[_Sample] = []
        self._pids: dict[str, int] = {}

    async def execute(self) -> dict[str, Any]:
        """Run it and return the result as plain data; every process is gone afterwards."""
        try:
            return await self._execute()
        except ChildError as error:
            self._servers.check()
            raise ChildError(f"{error} (last words of the servers: {self._servers.words()})") from error
        finally:
            for child in (*self._generators, *self._receivers):
                await child.close()
            await self._servers.stop()

    async def _execute(self) -> dict[str, Any]:
        self._tick(0.0, "starting")
        endpoints = await self._system.start(self._scenario, self._directory, self._servers)
        self._pids = endpoints.pids or machine.family(self._servers.pids())
        empty = self._usage()
        self._tick(0.0, f"connecting {self._scenario.sockets:,} sockets")
        await self._spawn(endpoints)
        connected = self._usage()
        start_ns = time.time_ns() + START_DELAY_NS
        for child in (*self._receivers, *self._generators):
            child.tell(f"start {start_ns}")
        await self._watch(start_ns)
        generated = [await child.result() for child in self._generators]
        await self._drain()
        report = await self._report(endpoints, start_ns)
        for child in self._receivers:
            child.tell("stop")
        received = [await child.result() for child in self._receivers]
        self._servers.check()
        parts = [dict(np.load(self._file("receiver", number))) for number in range(len(self._receivers))]
        return {
            "system": self._system.name,
            "version": self._system.version(),
            "lanes": self._system.lanes,
            **measured(self._scenario, parts),
            "account": account(self._scenario, parts, self._refused()),
            "generator": _generator_facts(generated),
            "receiver": _receiver_facts(received),
            "cost": self._cost(parts),
            "memory": memory(empty, connected, self._scenario.sockets),
            "reported": report,
        }

    def _file(self, kind: str, number: int) -> Path:
        return self._directory / f"{kind}-{number}.npz"

    async def _spawn(self, endpoints: Endpoints) -> None:
        common: dict[str, Any] = {
            "system": self._system.name,
            "scenario": self._scenario.as_dict(),
            "endpoints": endpoints.as_dict(),
        }
        count = self._scenario.receivers
        for number in range(count):
            sockets = list(range(number, self._scenario.sockets, count))
            order = common | {"sockets": sockets, "result": str(self._file("receiver", number))}
            self._receivers.append(await Child.spawn("bench.receiver", order))
        for child in self._receivers:
            await child.ready()
        for number in range(self._scenario.publishers):
            order = common | {"publisher": number, "result": str(self._file("generator", number))}
            self._generators.append(await Child.spawn("bench.generator", order))
        for child in self._generators:
            await child.ready()

    async def _watch(self, start_ns: int) -> None:
        """Sample until the last event is due."""
        begin = self._scenario.warmup_seconds
        end = self._scenario.total_seconds
        self._samples.append(self._sample(start_ns))
        measuring = False
        while True:
            elapsed = (time.time_ns() - start_ns) / 1e9
            next_step = min(elapsed + _STEP_SECONDS, end)
            if not measuring and elapsed < begin:
                next_step = min(next_step, begin)
            await asyncio.sleep(max(0.0, next_step - elapsed))
            elapsed = (time.time_ns() - start_ns) / 1e9
            measuring = measuring or elapsed >= begin
            last = self._samples[-1]
            if elapsed >= end or elapsed - last.seconds >= 1.0 or last.seconds < begin <= elapsed:
                self._samples.append(self._sample(start_ns))
            self._tick(min(1.0, elapsed / end), f"{self._received():,} deliveries")
            self._servers.check()
            if elapsed >= end or any(child.finished for child in self._receivers):
                return

    def _sample(self, start_ns: int) -> _Sample:
        return _Sample(
            (time.time_ns() - start_ns) / 1e9,
            self._usage(),
            sum((machine.usage_of(child.pid) for child in self._receivers), machine.NO_USAGE),
            sum((machine.usage_of(child.pid) for child in self._generators), machine.NO_USAGE),
            machine.cpu_times(),
            self._received(),
        )

    def _usage(self) -> dict[str, machine.Usage]:
        return {name: machine.usage_of(pid) for name, pid in self._pids.items()}

    def _received(self) -> int:
        return sum(child.progress.get("received", 0) for child in self._receivers)

    async def _drain(self) -> None:
        """Wait until nothing comes any more."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        last, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            received = self._received()
            now = time.monotonic()
            if received != last:
                last, since = received, now
            elif now - since >= _QUIET_SECONDS:
                return
            self._tick(1.0, f"{received:,} deliveries, draining")
            await asyncio.sleep(_STEP_SECONDS)

    async def _report(self, endpoints: Endpoints, start_ns: int) -> dict[str, Any]:
        # From the end of the warm-up until now: what came late came in the drain, and it counts.
        seconds = (time.time_ns() - start_ns) / 1e9 - self._scenario.warmup_seconds
        try:
            return await self._system.report(endpoints, seconds)
        except Exception as error:  # noqa: BLE001 - a run without the server's own figures is still a run
            return {"problem": f"{type(error).__name__}: {error}"}

    def _refused(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        parts = [np.load(self._file("generator", number))["refused"] for number in range(len(self._generators))]
        return np.concatenate(parts)

    def _cost(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        begin = next(s for s in self._samples if s.seconds >= self._scenario.warmup_seconds or s is self._samples[-1])
        end = self._samples[-1]
        seconds = max(end.seconds - begin.seconds, 1e-9)
        deliveries = sum(int(part["totals"][2]) for part in parts)
        server = end.server.cpu_seconds - begin.server.cpu_seconds
        receivers = end.receivers.cpu_seconds - begin.receivers.cpu_seconds
        generators = end.generators.cpu_seconds - begin.generators.cpu_seconds
        return {
            "seconds": seconds,
            "deliveries": deliveries,
            "deliveries_per_second": deliveries / self._scenario.seconds,
            "received_per_second": (end.received - begin.received) / seconds,
            "server_cpu_seconds": server,
            "server_cpu_by_process": {
                name: end.servers[name].cpu_seconds - used.cpu_seconds for name, used in begin.servers.items()
            },
            "server_cpu_seconds_per_million": server / deliveries * 1e6 if deliveries else None,
            "receiver_micros_per_delivery": receivers / deliveries * 1e6 if deliveries else None,
            "receiver_busy": receivers / seconds / len(self._receivers),
            "generator_busy": generators / seconds / len(self._generators),
            **machine.shares(begin.cpu, end.cpu),
            "rss_over_time": [(round(s.seconds, 1), s.server.rss_bytes) for s in self._samples],
        }


def memory(empty: dict[str, machine.Usage], connected: dict[str, machine.Usage], sockets: int) -> dict[str, Any]:
    """Return resident memory before and after connecting, and the growth per connection of what holds them."""
    edge = [name for name in empty if name.startswith("gateway")] or list(empty)
    growth = sum(connected[name].rss_bytes - empty[name].rss_bytes for name in edge)
    return {
        "empty_bytes": sum(used.rss_bytes for used in empty.values()),
        "connected_bytes": sum(used.rss_bytes for used in connected.values()),
        "per_connection_bytes": round(growth / sockets),
        "by_process": {name: [empty[name].rss_bytes, connected[name].rss_bytes] for name in empty},
    }


def measured(scenario: Scenario, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return latencies by window and lane, and their course over time."""
    latency = Histograms.merged(parts, "latency")
    from_send = Histograms.merged(parts, "from_send")
    windows: dict[str, dict[str, Any]] = {}
    for number, window in enumerate(scenario.windows):
        rows = {lane.name: accounting.lane_row(number, lane) for lane in LANES}
        lanes = {name: latency.sketch(row) for name, row in rows.items()}
        sent = {name: from_send.sketch(row) for name, row in rows.items()}
        lanes["ALL"], sent["ALL"] = _sum(lanes.values()), _sum(sent.values())
        windows[window.name] = {
            name: {
                **figures.latency(sketch).as_dict(),
                "from_send_p50_ms": figures.latency(sent[name]).p50_ms,
                "from_send_p99_ms": figures.latency(sent[name]).p99_ms,
                "skewed": sketch.skewed,
                "buckets": figures.to_sparse(sketch),
            }
            for name, sketch in lanes.items()
            if sketch.count
        }
    steps = Histograms.merged(parts, "over_time")
    over_time = []
    for number in range(len(steps.sums)):
        step = figures.latency(steps.sketch(number))
        at = number * scenario.slice_seconds - scenario.warmup_seconds
        over_time.append({"seconds": at, "count": step.count, "p50_ms": step.p50_ms, "p99_ms": step.p99_ms})
    return {"windows": windows, "over_time": over_time}


def _sum(sketches: Iterable[Sketch]) -> Sketch:
    total = Sketch()
    for sketch in sketches:
        total.merge(sketch)
    return total


def account(scenario: Scenario, parts: list[dict[str, Any]], refused: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Compare what every socket got with what was due to it."""
    result = Account()
    for number in range(len(scenario.loads)):
        lanes = accounting.lane_grid(scenario, schedule.load_events(scenario, number))
        accepted = np.ones(lanes.shape, dtype=np.bool_)
        own = refused[refused[:, 0] == number]
        accepted[own[:, 1], own[:, 2]] = False
        for part in parts:
            result.add(part[f"seen_{number}"], part["sockets"] % scenario.channels, lanes, accepted)
    names = ("expected", "lost", "duplicated", "unexpected")
    by_lane = {
        lane.name: {name: int(getattr(result, name)[int(lane)]) for name in names}
        for lane in LANES
        if result.expected[int(lane)] or result.unexpected[int(lane)]
    }
    totals = {name: sum(figures_of[name] for figures_of in by_lane.values()) for name in names}
    foreign = int(sum(part["totals"][1] for part in parts))
    return {**totals, "foreign": foreign, "refused_events": len(refused), "lanes": by_lane}


def _generator_facts(results: list[dict[str, Any]]) -> dict[str, Any]:
    worst = max(results, key=lambda result: result["lateness"]["p99_ms"])
    return {
        "sent": sum(result["sent"] for result in results),
        "lateness": worst["lateness"],
        "refused": _add(result["refused"] for result in results),
        "counters": _add(result["counters"] for result in results),
    }


def _receiver_facts(results: list[dict[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {name: _add(result[name] for result in results) for name in ("statistics", "closed")}
    facts["notes"] = _add(result["notes"] for result in results)
    frames = facts["statistics"].get("frames", 0)
    facts["received"] = sum(result["received"] for result in results)
    facts["events_per_frame"] = facts["received"] / frames if frames else None
    return facts


def _add(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total.get(name, 0) + value
    return total


async def run_once(system: System, scenario: Scenario, directory: Path, tick: Tick) -> dict[str, Any]:
    """Run one system under one scenario in `directory`, which must exist; return the result as plain data."""
    return await Run(system, scenario, directory, tick).execute()
