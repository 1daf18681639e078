"""Which positions a subscriber saves."""

from __future__ import annotations

from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.subscriber.core.ledger import Ledger

KEY = ("a", Priority.HIGH)
OTHER = ("a", Priority.LOW)


def at(offset: int) -> Position:
    return Position("e", offset)


def test_a_commit_is_saved_once() -> None:
    ledger = Ledger()
    ledger.commit(KEY, ledger.delivered(KEY), at(1))
    assert ledger.commits == 1
    assert ledger.take_unsaved() == {KEY: at(1)}
    assert ledger.take_unsaved() == {}
    assert ledger.commits == 0


def test_committing_an_earlier_delivery_afterwards_changes_nothing() -> None:
    ledger = Ledger()
    first, second = ledger.delivered(KEY), ledger.delivered(KEY)
    ledger.commit(KEY, second, at(2))
    ledger.commit(KEY, first, at(1))
    assert ledger.take_unsaved() == {KEY: at(2)}


def test_a_cursor_moves_past_a_gap_only_once_all_before_it_is_committed() -> None:
    ledger = Ledger()
    serial = ledger.delivered(KEY)
    ledger.move(KEY, at(9))
    ledger.move_all({OTHER: at(3)})
    assert ledger.take_unsaved() == {OTHER: at(3)}
    ledger.commit(KEY, serial, at(1))
    ledger.move(KEY, at(9))
    assert ledger.take_unsaved() == {KEY: at(9)}


def test_what_could_not_be_saved_is_kept_unless_it_is_outdated() -> None:
    ledger = Ledger()
    ledger.commit(KEY, ledger.delivered(KEY), at(1))
    ledger.commit(OTHER, ledger.delivered(OTHER), at(1))
    failed = ledger.take_unsaved()
    ledger.commit(KEY, ledger.delivered(KEY), at(2))
    ledger.give_back(failed)
    assert ledger.take_unsaved() == {KEY: at(2), OTHER: at(1)}
