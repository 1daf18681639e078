"""Positions, continuity and lineage."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.position import Continuity, EpochStart, Lineage, Position, continuity


@pytest.mark.parametrize(
    ("cursor", "previous", "offset", "expected"),
    [
        (5, 5, 6, Continuity.CONTIGUOUS),
        (5, 3, 9, Continuity.CONTIGUOUS),
        (5, 0, 5, Continuity.DUPLICATE),
        (5, 0, 4, Continuity.DUPLICATE),
        (5, 6, 7, Continuity.HOLE),
        (0, 0, 1, Continuity.CONTIGUOUS),
    ],
)
def test_an_event_is_next_known_or_behind_a_hole(cursor: int, previous: int, offset: int, expected: Continuity) -> None:
    assert continuity(cursor, previous, offset) is expected


@given(st.sets(st.integers(1, 60), min_size=1), st.integers(0, 2**32))
def test_a_reader_that_keeps_to_the_rule_misses_nothing_and_repeats_nothing(offsets: set[int], seed: int) -> None:
    log = sorted(offsets)
    chance = random.Random(seed)
    cursor, seen = 0, []
    for _ in range(200):
        index = chance.randrange(len(log))
        relation = continuity(cursor, log[index - 1] if index else 0, log[index])
        if relation is Continuity.CONTIGUOUS:
            cursor = log[index]
            seen.append(cursor)
    assert seen == log[: len(seen)]


def test_a_position_is_written_as_epoch_and_offset() -> None:
    assert str(Position("e", 7)) == "e:7"


def test_a_lineage_knows_where_each_epoch_ends() -> None:
    lineage = Lineage([EpochStart("a", 1), EpochStart("b", 10), EpochStart("c", 20)])
    assert [lineage.end_of(epoch) for epoch in "abc"] == [10, 20, None]
    assert lineage.current == "c"
    assert lineage.starts[0] == EpochStart("a", 1)
    with pytest.raises(KeyError):
        lineage.end_of("d")


def test_an_epoch_ends_where_any_later_one_begins() -> None:
    lineage = Lineage([EpochStart("a", 1), EpochStart("b", 10), EpochStart("c", 5)])  # the second crash undid more
    assert [lineage.end_of(epoch) for epoch in "abc"] == [5, 5, None]


def test_a_log_without_an_epoch_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        Lineage([])
