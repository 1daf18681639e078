"""Cutting bytes into lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lanecast.cli.core.lines import Line, LineSplitter


def split(chunks: list[bytes], limit: int = 100) -> list[Line]:
    splitter = LineSplitter(limit)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*lines, *splitter.end()]


def test_numbers_lines_from_one_and_keeps_a_last_line_without_an_end() -> None:
    assert split([b"a\nb", b"c\n\nd"]) == [Line(1, b"a"), Line(2, b"bc"), Line(3, b""), Line(4, b"d")]


def test_nothing_is_left_after_a_final_line_end() -> None:
    assert split([b"a\n"]) == [Line(1, b"a")]
    assert split([]) == []


def test_a_carriage_return_belongs_to_the_line_end() -> None:
    assert split([b"a\r\nb\r\n"]) == [Line(1, b"a"), Line(2, b"b")]


def test_a_long_line_is_cut_and_the_next_one_is_whole() -> None:
    assert split([b"abc", b"def\nxy\n"], limit=4) == [Line(1, b"abcd", truncated=True), Line(2, b"xy")]


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    assert split([b"abcd\n", b"abcde"], limit=4) == [Line(1, b"abcd"), Line(2, b"abcd", truncated=True)]


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_the_cut_does_not_depend_on_the_chunks(chunks: list[bytes]) -> None:
    assert split(chunks, limit=7) == split([b"".join(chunks)], limit=7)
