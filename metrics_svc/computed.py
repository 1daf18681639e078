"""What metrics_svc works out of the reports of others, for the collector that the standard variables name.

Owns the way of these series from the telemetry into the instruments, where the exporter to the collector finds them.
Not read by `self_report`, which would count them again. Made by `app`.

A collector sees the reports of all services themselves; counts against the objectives, burn rates, budgets and rollouts
exist here only.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lanecast.core import instruments as names
from lanecast.core.instruments import Instruments, Key
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.series import Series
from metrics_svc.core.telemetry import Telemetry

COMPUTED = (
    names.SLO_EVENTS,
    names.SLO_FAR_LATE,
    names.SLO_BURN_RATE,
    names.SLO_BUDGET_REMAINING,
    names.ROLLOUT_STAGE,
    names.ROLLOUT_TRANSITIONS,
    names.ROLLOUT_RULE_VALUE,
)
"""The metrics that nobody reports but this service, or that it completes."""
_REPORTED = ("result", "blocked_by_peer")
"""Of `lanecast.slo.events`, the result that gateways report themselves."""
GAUGE_SECONDS = 10
"""A gauge that was not set for so long is left out."""


class Computed:
    """Hands the computed series on. They are looked at when the instruments are read."""

    def __init__(self, instruments: Instruments, telemetry: Telemetry) -> None:
        self._instruments = instruments
        self._telemetry = telemetry
        self._sent: dict[Key, int] = {}
        self._gauges: dict[Key, float] = {}
        self._known: set[Key] = set()
        instruments.before_reading(self._move)

    def _move(self) -> None:
        self._gauges.clear()
        newest = 0
        found = list(self._found())
        for series in found:
            newest = max(newest, series.last_second)
        for series in found:
            total = series.total
            assert isinstance(total, int | float)
            if series.kind is Kind.COUNTER:
                self._count(series.key, int(total))
            elif series.last_second > newest - GAUGE_SECONDS:
                self._gauges[series.key] = float(total)
                self._register(series.key)

    def _found(self) -> Iterator[Series]:
        for name in COMPUTED:
            for series in self._telemetry.series(name):
                if _REPORTED not in series.key.attributes:
                    yield series

    def _count(self, key: Key, total: int) -> None:
        grown = total - self._sent.get(key, 0)
        counter = self._instruments.counter(key.name, **dict(key.attributes))
        if grown > 0:  # what a repeated report took back is not counted again when it comes
            counter.add(grown)
            self._sent[key] = total

    def _register(self, key: Key) -> None:
        if key not in self._known:
            self._known.add(key)
            self._instruments.gauge(key.name, partial(self._gauges.get, key), **dict(key.attributes))
