"""bench.scenario: scenarios as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import scenario
from bench.scenario import ScenarioError

BASE: dict[str, Any] = {
    "name": "test",
    "title": "test",
    "sockets": 10,
    "channels": 4,
    "seconds": 20.0,
    "warmup_seconds": 2.0,
    "load": [{"events_per_second": 100, "mix": {"CRITICAL": 1, "LOW": 3}}],
}


@pytest.mark.parametrize("name", scenario.names())
def test_every_scenario_that_comes_with_the_suite_is_valid(name: str) -> None:
    found = scenario.load(name)
    assert found.name == name
    assert scenario.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_the_headline_is_the_headline() -> None:
    found = scenario.load("headline")
    assert (found.sockets, found.channels, found.seconds, found.payload_bytes) == (1000, 1000, 60, (256, 512))
    assert found.deliveries_per_second == 10_000
    assert found.loads[0].weights() == [0.01, 0.09, 0.6, 0.3]


@pytest.mark.parametrize(
    ("name", "deliveries"), [("fanout-100k", 100_000), ("fanout-500k", 500_000), ("fanout-1m", 1_000_000)]
)
def test_the_fan_outs_are_named_after_their_rate(name: str, deliveries: int) -> None:
    assert scenario.load(name).deliveries_per_second == deliveries


def test_sockets_are_spread_over_channels() -> None:
    found = scenario.from_dict(BASE)
    assert [found.sockets_of(channel) for channel in range(4)] == [3, 3, 2, 2]


def test_loads_that_begin_with_the_run_also_warm_it_up() -> None:
    late = {"events_per_second": 5, "mix": {"LOW": 1}, "begin": 0.5, "end": 0.75}
    found = scenario.from_dict({**BASE, "load": [*BASE["load"], late]})
    assert [found.load_span(load) for load in found.loads] == [(0.0, 22.0), (12.0, 17.0)]
    assert found.window_span(found.windows[0]) == (2.0, 22.0)


def test_scaling_multiplies_the_rates() -> None:
    assert scenario.from_dict(BASE).scaled(2.5).loads[0].events_per_second == 250


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": 11}, "sockets must be at least channels"),
        ({"payload_bytes": [10, 300]}, "payloads must be"),
        ({"arrivals": "bursty"}, "poisson"),
        ({"load": []}, "1 to 4 loads"),
        ({"load": [{"events_per_second": 1, "mix": {"URGENT": 1}}]}, "CRITICAL"),
        ({"load": [{"events_per_second": 0, "mix": {"LOW": 1}}]}, "above 0"),
        ({"load": [{"events_per_second": 1, "mix": {"LOW": 1}, "begin": 0.9, "end": 0.1}]}, "between 0 and 1"),
        ({"load": [{"events_per_second": 1, "mix": {"LOW": 1}, "publisher": 1}]}, "beyond the last"),
        ({"publishers": 0}, "at least 1"),
        ({"seconds": 0}, "above 0"),
        ({"sokets": 3}, "sokets"),
    ],
)
def test_what_makes_no_sense_is_refused_with_words(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        scenario.from_dict({**BASE, **change})


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="headline"):
        scenario.load("no-such")
    broken = tmp_path / "broken.toml"
    broken.write_text("title = ")
    with pytest.raises(ScenarioError, match=r"broken\.toml is not valid TOML"):
        scenario.load(str(broken))
