"""bench.search: finds an edge in few tries."""

from __future__ import annotations

import pytest

from bench.search import Search


@pytest.mark.parametrize("edge", [0.07, 0.9, 1.0, 3.3, 40.0])
def test_the_edge_is_found_to_the_precision(edge: float) -> None:
    search, tries = Search(), 0
    while not search.done:
        search.report(held=search.factor <= edge)
        tries += 1
    assert search.best <= edge < search.best * 1.1 * 1.0001
    assert tries < 20


def test_one_failure_is_not_believed() -> None:
    search = Search()
    search.report(held=False)
    assert search.factor == 1.0
    search.report(held=True)
    assert (search.best, search.factor) == (1.0, 2.0)


def test_it_gives_up_at_both_ends() -> None:
    never, always = Search(), Search()
    while not never.done:
        never.report(held=False)
    while not always.done:
        always.report(held=True)
    assert never.best == 0
    assert always.best >= always.highest
