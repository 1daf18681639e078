"""Prometheus text of everything that is kept, as cumulative series.

Owns the names and the form (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format). Reads
`telemetry`; called by `http`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil, log2

from lanecast.core.instruments import UNITS
from lanecast.core.sketch import BUCKETS, MIN_INDEX, SCALE, Sketch
from metrics_svc.core.catalogue import METRICS, Kind
from metrics_svc.core.series import Series
from metrics_svc.core.telemetry import NANOS, Telemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGE_SECONDS = 10
"""A gauge that was not reported for this long is left out."""

BOUNDS = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0,
)  # fmt: skip
"""Upper limits of the classic buckets in seconds; the lanes' budgets are among them."""

_SUFFIX = {"s": "_seconds", "By": "_bytes"}


def _last_index(limit: float) -> int:
    # The bucket that holds the limit counts as below it, as in `Sketch.share_within`.
    return min(BUCKETS - 1, ceil(log2(limit) * (1 << SCALE)) - 1 - MIN_INDEX)


_LAST = tuple(_last_index(bound) for bound in BOUNDS)


def render(telemetry: Telemetry, now_ns: int) -> str:
    """Return the text of all series."""
    since = now_ns // NANOS - GAUGE_SECONDS
    by_name: dict[str, list[Series]] = {}
    for series in telemetry.all_series():
        if series.kind is not Kind.GAUGE or series.last_second >= since:
            by_name.setdefault(series.key.name, []).append(series)
    lines: list[str] = []
    for name in sorted(by_name):
        lines += _metric(name, by_name[name])
    lines += _own(telemetry)
    return "\n".join(lines) + "\n"


def metric_name(name: str) -> str:
    """Return the name of a metric of the catalogue in Prometheus."""
    text = name.replace(".", "_") + _SUFFIX.get(UNITS[name], "")
    return text + "_total" if METRICS[name].kind is Kind.COUNTER else text


def _metric(name: str, series: list[Series]) -> Iterator[str]:
    title = metric_name(name)
    metric = METRICS[name]
    yield from _head(title, metric.kind.value, metric.text)
    for one in series:
        labels = list(one.key.attributes)
        if one.kind is Kind.GAUGE:
            labels.append(("process", one.process))
        if one.sketch is not None:
            yield from _histogram(title, labels, one.sketch)
        else:
            yield f"{title}{_labels(labels)} {_value(one.total)}"


def _histogram(title: str, labels: list[tuple[str, str]], sketch: Sketch) -> Iterator[str]:
    below, position = 0, 0
    for bound, last in zip(BOUNDS, _LAST, strict=True):
        below += sum(sketch.counts[position : last + 1])
        position = last + 1
        yield f"{title}_bucket{_labels([*labels, ('le', _value(bound))])} {below}"
    count = sketch.count
    yield f"{title}_bucket{_labels([*labels, ('le', '+Inf')])} {count}"
    yield f"{title}_sum{_labels(labels)} {_value(sketch.sum_ns / 1e9)}"
    yield f"{title}_count{_labels(labels)} {count}"


def _own(telemetry: Telemetry) -> Iterator[str]:
    facts = telemetry.statistics()
    yield from _head("lanecast_metrics_series", "gauge", "Series that metrics_svc keeps.")
    yield f"lanecast_metrics_series {facts['series']}"
    yield from _head("lanecast_metrics_refused_points_total", "counter", "Reported points that were not kept.")
    yield f"lanecast_metrics_refused_points_total {facts['refused']}"


def _head(title: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {title} {text}"
    yield f"# TYPE {title} {kind}"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    inner = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)
    return f"{{{inner}}}" if inner else ""


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _value(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(float(number))
