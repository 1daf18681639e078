"""What operators may write as objectives."""

from __future__ import annotations

import pytest

from lanecast.core.priority import Priority
from lanecast.errors import ConfigError
from metrics_svc.core.objectives import DEFAULTS, SecondLimit, read


def test_nothing_written_is_the_design() -> None:
    assert read() == DEFAULTS
    assert DEFAULTS[Priority.CRITICAL].second == SecondLimit(0.005, 0.999)
    assert [(one.limit_seconds, one.objective, one.loss_budget) for one in DEFAULTS.values()] == [
        (0.001, 0.99, 0.0001), (0.005, 0.995, 0.0005), (0.010, 0.995, 0.001), (0.050, 0.99, 0.005),
    ]  # fmt: skip


def test_only_what_is_named_changes() -> None:
    found = read(["high=7.5ms"], ["LOW=98%"], ["CRITICAL=none", "HIGH=20ms@99.9%"], ["NORMAL=0.2%"])
    assert found[Priority.HIGH].limit_seconds == 0.0075
    assert found[Priority.HIGH].second == SecondLimit(0.02, 0.999)
    assert found[Priority.LOW].objective == 0.98
    assert found[Priority.NORMAL].loss_budget == 0.002
    assert found[Priority.CRITICAL].second is None
    assert found[Priority.HIGH].objective == DEFAULTS[Priority.HIGH].objective


@pytest.mark.parametrize(
    ("place", "entry", "message"),
    [
        (0, "CRITICAL", "write it as CRITICAL=1ms"),
        (0, "URGENT=1ms", "use one of CRITICAL"),
        (0, "LOW=1", "write it as 1ms, 250us or 0.5s"),
        (0, "LOW=0ms", "use 0.01ms to 60s"),
        (0, "CRITICAL=5ms", "not above its limit"),
        (1, "LOW=0.99", "in percent"),
        (1, "LOW=50%", "use 95% to 99.999%"),
        (1, "LOW=100%", "use 95% to 99.999%"),
        (1, "CRITICAL=99.9%", "asks for no more"),
        (2, "LOW=80ms", "write it as 5ms@99.9%"),
        (3, "LOW=0%", "use 0.0001% to 5%"),
    ],
)
def test_others_are_refused_with_what_is_wanted(place: int, entry: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(*[[entry] if index == place else [] for index in range(4)])


def test_a_lane_is_named_once() -> None:
    with pytest.raises(ConfigError, match="names LOW twice"):
        read(["LOW=1ms", "low=2ms"])
