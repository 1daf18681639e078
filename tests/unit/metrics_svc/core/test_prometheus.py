"""Prometheus text, read back by a strict parser of the format."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from lanecast.core import instruments as names
from metrics_svc.core.catalogue import METRICS
from metrics_svc.core.prometheus import BOUNDS, metric_name, render
from metrics_svc.rollout.controller import DIVERTED

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf'({_NAME})(?:\{{((?:{_NAME}="(?:[^"\\\n]|\\[\\"n])*",?)+)\}})? (\S+)')
_LABEL = re.compile(rf'({_NAME})="((?:[^"\\\n]|\\[\\"n])*)"')

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def parse(text: str) -> tuple[dict[str, str], Samples]:
    """Return kinds and samples; fails on what `promtool check metrics` would refuse."""
    kinds: dict[str, str] = {}
    samples: Samples = defaultdict(dict)
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds, "one TYPE line for each metric"
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            base = re.sub(r"_(bucket|sum|count)$", "", match[1])
            family = base if kinds.get(base) == "histogram" else match[1]
            assert list(kinds)[-1] == family, "samples stand under their TYPE line"
            assert kinds[family] != "counter" or match[1].endswith("_total")
            labels = tuple(sorted(_LABEL.findall(match[2] or "")))
            assert labels not in samples[match[1]], "no sample twice"
            samples[match[1]][labels] = float(match[3])
    return kinds, samples


def test_counters_gauges_and_histograms_are_valid_and_right(bench: Any) -> None:
    bench.count(names.EVENT_ACCEPTED, 5, lane="LOW")
    bench.gauge(names.CONNECTION_ACTIVE, 3)
    bench.deliveries("CRITICAL", [0.0004, 0.001, 0.003, 300.0])
    kinds, samples = parse(render(bench.telemetry, bench.now_ns))
    assert kinds["lanecast_event_accepted_total"] == "counter"
    assert samples["lanecast_event_accepted_total"][("lane", "LOW"),] == 5
    assert samples["lanecast_connection_active"][("process", "gateway_svc/gateway-1"),] == 3
    title, lane = "lanecast_delivery_duration_seconds", (("lane", "CRITICAL"), ("scope", "server"))
    assert kinds[title] == "histogram"
    buckets = {dict(labels)["le"]: value for labels, value in samples[f"{title}_bucket"].items()}
    assert list(map(float, buckets)) == [*BOUNDS, float("inf")]
    assert (buckets["0.0005"], buckets["0.001"], buckets["0.005"], buckets["100"], buckets["+Inf"]) == (1, 2, 3, 3, 4)
    assert sorted(buckets.values()) == list(buckets.values())
    assert samples[f"{title}_count"][lane] == 4
    assert abs(samples[f"{title}_sum"][lane] - 300.0044) < 1e-6


def test_totals_only_grow_and_stale_gauges_go(bench: Any) -> None:
    bench.count(names.EVENT_ACCEPTED, 5, lane="LOW")
    bench.gauge(names.CONNECTION_ACTIVE, 3)
    bench.later(4000)
    bench.count(names.EVENT_ACCEPTED, 2, lane="LOW")
    _, samples = parse(render(bench.telemetry, bench.now_ns))
    assert samples["lanecast_event_accepted_total"][("lane", "LOW"),] == 7
    assert "lanecast_connection_active" not in samples


def test_label_values_are_escaped(bench: Any) -> None:
    bench.count(names.EVENT_REJECTED, 1, lane="LOW", reason='a"b\\c\nd')
    _, samples = parse(render(bench.telemetry, bench.now_ns))
    (labels,) = samples["lanecast_event_rejected_total"]
    assert dict(labels)["reason"] == r"a\"b\\c\nd"


def test_every_metric_of_the_catalogue_has_a_valid_name() -> None:
    assert set(METRICS) == set(names.UNITS) - DIVERTED  # those are for the controller of rollouts alone
    assert all(re.fullmatch(_NAME, metric_name(name)) for name in METRICS)
