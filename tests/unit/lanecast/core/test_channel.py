"""Channel names and grant patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.channel import MAX_CHANNEL_BYTES, check_channel, check_pattern, matches


@pytest.mark.parametrize("name", ["agent:42", "a", "x" * 255, "é" * 127, "kanäle/größe 1", "日本"])
def test_a_valid_name_has_no_problem(name: str) -> None:
    assert check_channel(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        ("x" * 256, "256 bytes"),
        ("é" * 128, "256 bytes"),
        ("a*", "kept for patterns"),
        ("a>b", "kept for patterns"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("\ud800", "control character"),
    ],
)
def test_a_bad_name_is_explained(name: str, problem: str) -> None:
    assert problem in (check_channel(name) or "")


@given(st.text(max_size=300))
def test_a_name_without_problem_keeps_the_promises(name: str) -> None:
    if check_channel(name) is None:
        assert 0 < len(name.encode()) <= MAX_CHANNEL_BYTES
        assert not set(name) & set("*>\n\r\t\0")


@pytest.mark.parametrize("pattern", ["*", "agent:*", "agent:42"])
def test_a_valid_pattern_has_no_problem(pattern: str) -> None:
    assert check_pattern(pattern) is None


@pytest.mark.parametrize("pattern", ["", "**", "a*b", "a>", "*a"])
def test_a_bad_pattern_is_explained(pattern: str) -> None:
    assert "use a channel name" in (check_pattern(pattern) or "")


def test_a_pattern_covers_its_beginning_and_a_name_only_itself() -> None:
    assert matches("agent:*", "agent:42")
    assert matches("*", "anything")
    assert not matches("agent:*", "agents")
    assert matches("agent:4", "agent:4")
    assert not matches("agent:4", "agent:42")


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [("*", False), ("$*", False), ("$lanecast*", False), ("$lanecast:*", True), ("$lanecast:perf:1:0", True)],
)
def test_a_reserved_channel_is_covered_only_by_a_pattern_that_names_the_prefix(pattern: str, covered: bool) -> None:
    assert matches(pattern, "$lanecast:perf:1:0") is covered
