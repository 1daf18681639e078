"""Counts as people write them."""

import pytest

from lanecast.cli.output import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (1000, "1,000 events")])
def test_one_is_singular(number: int, text: str) -> None:
    assert counted(number, "event") == text
