"""Builders shared by the tests of metrics_svc: telemetry with a clock that the test moves."""

from __future__ import annotations

import pytest

from lanecast.core import instruments as names
from lanecast.core.instruments import Key
from lanecast.core.sketch import Sketch
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.objectives import DEFAULTS
from metrics_svc.core.packed import pack
from metrics_svc.core.slo import deriver
from metrics_svc.core.telemetry import NANOS, Outcome, Point, Process, Telemetry

START = 1_800_000_000 * NANOS


class Bench:
    """Telemetry that reports are made to at `now_ns`."""

    def __init__(self, max_series: int = 2_000, *, slo: bool = True) -> None:
        self.now_ns = START + 100 * NANOS
        self.telemetry = Telemetry(START, max_series=max_series, derive=deriver(DEFAULTS) if slo else None)
        self.gateway = Process("gateway_svc", "gateway-1")
        self.publisher = Process("publisher_svc", "publisher-1")

    def later(self, seconds: float) -> None:
        self.now_ns += round(seconds * NANOS)

    def report(self, process: Process, *points: Point) -> Outcome:
        return self.telemetry.add(process, points, self.now_ns)

    def point(self, name: str, kind: Kind, value: object, **attributes: str) -> Point:
        key = Key(name, tuple(sorted(attributes.items())))
        return Point(key, kind, self.now_ns - NANOS, self.now_ns, value)  # type: ignore[arg-type]

    def count(self, name: str, amount: int, process: Process | None = None, **attributes: str) -> Outcome:
        return self.report(process or self.publisher, self.point(name, Kind.COUNTER, amount, **attributes))

    def gauge(self, name: str, value: float, process: Process | None = None, **attributes: str) -> Outcome:
        return self.report(process or self.gateway, self.point(name, Kind.GAUGE, value, **attributes))

    def durations(self, name: str, seconds: list[float], **attributes: str) -> Outcome:
        sketch = Sketch()
        for value in seconds:
            sketch.record_ns(round(value * 1e9))
        return self.report(self.gateway, self.point(name, Kind.HISTOGRAM, pack(sketch), **attributes))

    def deliveries(self, lane: str, seconds: list[float], **attributes: str) -> None:
        attributes.setdefault("scope", "server")
        self.durations(names.DELIVERY_DURATION, seconds, lane=lane, **attributes)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def small_bench() -> Bench:
    return Bench(max_series=8, slo=False)


@pytest.fixture(scope="session")
def new_bench() -> type[Bench]:
    """For hypothesis, whose examples must not share one."""
    return Bench
