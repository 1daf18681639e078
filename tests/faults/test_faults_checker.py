"""The checker finds each breach, and nothing in a faultless run."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.checker import Ack, Breach, Gap, Journal, Key, Lane, check

KEY: Key = ("agent:42", 1)


def lane(*events: tuple[int, int]) -> Lane:
    made = Lane()
    for offset, mark in events:
        made.add(offset, mark)
    return made


def journal(*offsets: int, start: int = 0, excused: tuple[str, ...] = ()) -> Journal:
    """A reader that is handed events with these offsets, each with its offset as mark."""
    made = Journal("reader", KEY, excused)
    made.begin("e", start)
    for offset in offsets:
        made.event("e", offset, made.cursor, offset)
    return made


def acks(*offsets: int, producer: str = "p") -> list[Ack]:
    return [Ack(KEY, offset, offset, sequence, producer) for sequence, offset in enumerate(offsets)]


STORED = {KEY: lane((1, 1), (3, 3), (4, 4), (9, 9))}


def breaches(*journals: Journal, acked: list[Ack] | None = None, stored: dict[Key, Lane] | None = None) -> list[Breach]:
    verdict = check(acks(1, 3, 4, 9) if acked is None else acked, journals, STORED if stored is None else stored)
    return [problem.breach for problem in verdict.problems]


def test_a_faultless_run_has_no_problems() -> None:
    assert breaches(journal(1, 3, 4, 9), journal(4, 9, start=3)) == []


def test_an_acknowledged_event_that_is_missing_is_lost() -> None:
    verdict = check(acks(1, 3, 4, 9), [journal(1, 4, 9)], STORED)
    assert [problem.breach for problem in verdict.problems] == [Breach.LOST]
    assert "reader: agent:42 lane 1: lost" in str(verdict.problems[0])
    assert "id 0000000000000003 at offset 3" in str(verdict.problems[0])


def test_a_stored_event_that_nobody_was_answered_for_may_not_be_skipped_either() -> None:
    assert breaches(journal(1, 4, 9), acked=acks(1, 4, 9)) == [Breach.SKIPPED]


def test_an_event_named_by_an_excused_gap_is_not_lost() -> None:
    reader = journal(1, excused=("TRUNCATED",))
    reader.gap("e", Gap(1, 4, "TRUNCATED", 2))
    assert reader.event("e", 9, 4, 9)
    assert breaches(reader) == []


def test_a_gap_that_the_fault_does_not_excuse_is_a_breach() -> None:
    reader = journal(1)
    reader.gap("e", Gap(1, 4, "SHED", 2))
    reader.event("e", 9, 4, 9)
    assert breaches(reader) == [Breach.GAP]


def test_a_gap_does_not_excuse_what_lies_behind_it() -> None:
    reader = journal(1, excused=("SHED",))
    reader.gap("e", Gap(1, 3, "SHED", 1))
    reader.event("e", 9, 3, 9)
    assert breaches(reader) == [Breach.LOST]


def test_a_gap_that_begins_beyond_the_cursor_is_a_hole() -> None:
    reader = journal(1, excused=("SHED",))
    reader.gap("e", Gap(3, 4, "SHED", 1))
    assert reader.problems[0].breach is Breach.HOLE


def test_an_advance_that_passes_an_event_loses_it() -> None:
    reader = journal(1)
    reader.advance(4)
    reader.event("e", 9, 4, 9)
    assert breaches(reader) == [Breach.LOST, Breach.LOST]


def test_an_event_that_comes_again_is_doubled() -> None:
    reader = journal(1, 3)
    assert reader.event("e", 3, 1, 3)
    assert breaches(reader, acked=acks(1, 3), stored={KEY: lane((1, 1), (3, 3))}) == [Breach.DOUBLED]


def test_a_hole_in_the_chain_is_told_at_once_and_makes_the_client_come_again() -> None:
    reader = journal(1)
    assert not reader.event("e", 4, 3, 4)
    assert reader.cursor == 1
    assert [problem.breach for problem in reader.problems] == [Breach.HOLE]


def test_a_resuming_reader_keeps_its_own_cursor() -> None:
    reader = journal(1)
    reader.begin("e", 4)
    assert not reader.event("e", 9, 4, 9)


def test_a_delivered_event_that_the_log_does_not_have_is_a_phantom() -> None:
    assert Breach.PHANTOM in breaches(journal(1, 3, 4, 5, 9))


def test_an_event_under_the_offset_of_another_is_a_phantom() -> None:
    reader = journal(1)
    reader.event("e", 3, 1, 77)
    found = breaches(reader, acked=acks(1, 3), stored={KEY: lane((1, 1), (3, 3))})
    assert found == [Breach.PHANTOM]


def test_a_damaged_payload_is_wrong() -> None:
    reader = journal(1, 3)
    reader.wrong(4, 4, "other bytes")
    assert reader.event("e", 9, 4, 9)
    assert breaches(reader) == [Breach.WRONG]


def test_an_acknowledgement_without_its_event_in_the_log_is_unstored() -> None:
    assert breaches(acked=acks(1, 2)) == [Breach.UNSTORED]
    assert breaches(acked=[Ack(KEY, 7, 3, 0, "p")]) == [Breach.UNSTORED]


def test_what_retention_took_is_not_missing() -> None:
    verdict = check(acks(1, 3, 4, 9), [journal(1, 3, 4, 9)], {KEY: lane((4, 4), (9, 9))}, first_offset=4)
    assert not verdict.problems


def test_an_id_that_is_stored_twice_is_found() -> None:
    assert breaches(acked=[], stored={KEY: lane((1, 5), (2, 5))}) == [Breach.STORED_TWICE]


def test_a_log_that_goes_back_is_out_of_order() -> None:
    assert breaches(acked=[], stored={KEY: lane((2, 5), (1, 6))}) == [Breach.DISORDERED]


def test_a_producer_whose_events_changed_places_is_found() -> None:
    swapped = [Ack(KEY, 3, 3, 0, "p"), Ack(KEY, 1, 1, 1, "p"), Ack(KEY, 4, 4, 0, "q")]
    assert breaches(acked=swapped) == [Breach.DISORDERED]


def test_a_reader_that_never_was_answered_has_lost_everything() -> None:
    assert breaches(Journal("reader", KEY)) == [Breach.LOST]


@settings(max_examples=150)
@given(st.integers(0, 1 << 30), st.integers(2, 60), st.data())
def test_any_one_event_less_or_more_is_found(seed: int, count: int, data: st.DataObject) -> None:
    random = Random(seed)
    offsets = sorted(random.sample(range(1, 10 * count), count))
    stored = {KEY: lane(*((offset, offset) for offset in offsets))}
    start = data.draw(st.integers(0, offsets[-1]))
    due = [offset for offset in offsets if offset > start]
    assert not check(acks(*offsets), [journal(*due, start=start)], stored).problems
    if due:
        gone = data.draw(st.sampled_from(due))
        left = [offset for offset in due if offset != gone]
        verdict = check(acks(*offsets), [journal(*left, start=start)], stored)
        assert [problem.breach for problem in verdict.problems] == [Breach.LOST]
        assert f"offset {gone};" in verdict.problems[0].detail
    extra = data.draw(st.integers(start + 1, 10 * count + 1).filter(lambda offset: offset not in due))
    verdict = check(acks(*offsets), [journal(*sorted([*due, extra]), start=start)], stored)
    assert [problem.breach for problem in verdict.problems] == [Breach.PHANTOM]


@settings(max_examples=150)
@given(st.integers(0, 1 << 30), st.integers(2, 60), st.data())
def test_gaps_excuse_exactly_what_they_name(seed: int, count: int, data: st.DataObject) -> None:
    random = Random(seed)
    offsets = sorted(random.sample(range(1, 10 * count), count))
    stored = {KEY: lane(*((offset, offset) for offset in offsets))}
    dropped = set(data.draw(st.lists(st.sampled_from(offsets), unique=True)))
    reader = Journal("reader", KEY, {"SHED"})
    reader.begin("e", 0)
    for offset in offsets:
        if offset in dropped:
            reader.gap("e", Gap(reader.cursor, offset, "SHED", 1))
        else:
            assert reader.event("e", offset, reader.cursor, offset)
    assert not check(acks(*offsets), [reader], stored).problems
    assert reader.handed.digest() == lane(*((o, o) for o in offsets if o not in dropped)).digest()


def test_the_prefix_hash_tells_order_and_content() -> None:
    assert lane((1, 1), (2, 2)).digest() == lane((1, 1), (2, 2)).digest()
    assert len({lane((1, 1), (2, 2)).digest(), lane((1, 1), (2, 3)).digest(), lane((1, 1)).digest()}) == 3


@pytest.mark.parametrize("start", [0, 3, 9])
def test_readers_who_began_at_different_places_are_judged_from_there(start: int) -> None:
    reader = journal(*(offset for offset in (1, 3, 4, 9) if offset > start), start=start)
    assert breaches(reader) == []
