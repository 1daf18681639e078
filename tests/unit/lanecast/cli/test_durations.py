"""Durations as people write them."""

from __future__ import annotations

import pytest

from lanecast.cli.core.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("7d", 604800),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("90", 90),
        (" 1H ", 3600),
    ],
)
def test_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1y", "-1h", "1h30", "soon", "1 h", "1.2.3s", "inf", "nan"])
def test_refuses_and_shows_the_notation(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 90s, 15m, 1h or 7d"):
        parse_duration(text)
