"""What a query may ask for."""

from __future__ import annotations

import pytest

from lanecast.core.priority import Priority
from lanecast.errors import StatusError
from metrics_svc.core import selection as limits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60", 60), ("60s", 60), ("250ms", 0.25), ("1.5s", 1.5), ("5m", 300), ("5min", 300), ("1h", 3600), ("2d", 172800)],
)
def test_durations_are_written_as_people_write_them(text: str, seconds: float) -> None:
    assert limits.parse_duration(text, "window") == seconds


@pytest.mark.parametrize("text", ["", "x", "-1s", "1 s s", "1e9", "٣s", "9999999999", "nan", "inf", "1y"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(StatusError, match="write it as 60s") as caught:
        limits.parse_duration(text, "window")
    assert (caught.value.code, caught.value.reason, caught.value.field) == (3, "DURATION_MALFORMED", "window")


def test_windows_have_a_default_a_range_and_whole_seconds() -> None:
    assert limits.check_window(None, 60) == 60
    assert limits.check_window(1.2, 60) == 2
    assert limits.check_window(30 * 86400, 60) == 30 * 86400
    for bad in (0, 0.99, -5, 30 * 86400 + 1, float("nan"), float("inf")):
        with pytest.raises(StatusError, match="use 1 s to 30 days"):
            limits.check_window(bad, 60)
    with pytest.raises(StatusError, match="use 1 s to 1 h"):
        limits.check_window(3601, 10, 3600)


def test_intervals_have_a_default_and_a_range() -> None:
    assert limits.check_interval(None) == 1.0
    assert limits.check_interval(0.1) == 0.1
    for bad in (0.0, 0.099, 60.1, float("nan")):
        with pytest.raises(StatusError, match="use 100 ms to 60 s"):
            limits.check_interval(bad)


def test_lanes_are_found_by_name_in_any_form() -> None:
    assert limits.parse_lanes(["critical", "PRIORITY_LOW", "CRITICAL"]) == (Priority.CRITICAL, Priority.LOW)
    with pytest.raises(StatusError, match="use one of CRITICAL, HIGH, NORMAL, LOW"):
        limits.parse_lanes(["urgent"])


def test_types_are_names_and_not_too_many() -> None:
    assert limits.check_types(("a.v1.B", "a.v1.B", "C")) == ("a.v1.B", "C")
    with pytest.raises(StatusError, match="not the full name"):
        limits.check_types(("a b",))
    with pytest.raises(StatusError, match="use at most 64"):
        limits.check_types(tuple(f"T{number}" for number in range(65)))
