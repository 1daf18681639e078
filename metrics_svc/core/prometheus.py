"""Prometheus text of everything that is kept, as cumulative series.

Owns the names and the form (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format). Reads
`telemetry`; called by `http`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from lanecast.core.instruments import UNITS
from metrics_svc.core.catalogue import METRICS, Kind
from metrics_svc.core.series import Series
from metrics_svc.core.telemetry import NANOS, Telemetry
from metrics_svc.core.totals import BOUNDS, HistogramTotal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GAUGE_SECONDS = 10
"""A gauge that was not reported for this long is left out."""

_SUFFIX = {"s": "_seconds", "By": "_bytes"}


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
        if isinstance(one.total, HistogramTotal):
            yield from _histogram(title, labels, one.total)
        else:
            yield f"{title}{_labels(labels)} {_value(one.total)}"


def _histogram(title: str, labels: list[tuple[str, str]], total: HistogramTotal) -> Iterator[str]:
    for bound, below in zip(BOUNDS, accumulate(total.buckets), strict=False):  # the last bucket is `+Inf`
        yield f"{title}_bucket{_labels([*labels, ('le', _value(bound))])} {below}"
    yield f"{title}_bucket{_labels([*labels, ('le', '+Inf')])} {total.count}"
    yield f"{title}_sum{_labels(labels)} {_value(total.sum_ns / 1e9)}"
    yield f"{title}_count{_labels(labels)} {total.count}"


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
