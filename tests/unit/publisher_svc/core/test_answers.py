"""Answers on a publishing stream: bytes made by hand against the generated classes."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from lanecast.v1 import publisher_pb2 as pb
from publisher_svc.core import answers
from publisher_svc.core.admission import Refusal
from publisher_svc.core.answers import Answers, result_of


@dataclass
class Kept:
    offset: int
    duplicate: bool


REFUSALS = st.builds(Refusal, st.integers(1, 16), st.text(max_size=5), st.text(max_size=300), st.integers(0, 9_999))
RESULTS = st.lists(st.builds(Kept, st.integers(1, 2**63), st.booleans()) | REFUSALS, min_size=1, max_size=5)


def taken(waiting: Answers) -> list[tuple[pb.PublishEventStreamResponse, int]]:
    found = []
    while waiting:
        data, events = waiting.take()
        found.append((pb.PublishEventStreamResponse.FromString(data), events))
    return found


@given(st.lists(st.tuples(st.booleans(), RESULTS), max_size=8), st.booleans())
def test_every_event_is_answered_once_under_its_number(
    parts: list[tuple[bool, list[Kept | Refusal]]], offsets: bool
) -> None:
    waiting = Answers("epoch-ä", offsets=offsets)
    expected: dict[int, pb.PublishResult] = {}
    sequence = 1
    for skip, results in parts:
        sequence += skip  # an answer of another submission comes later
        waiting.add(sequence, results)
        expected |= {sequence + index: result_of(result) for index, result in enumerate(results)}
        sequence += len(results)
    answered: dict[int, pb.PublishResult] = {}
    for response, events in taken(waiting):
        assert response.acks.epoch == "epoch-ä"
        assert offsets or not response.acks.offsets
        results = [pb.PublishResult(offset=offset) for offset in response.acks.offsets] + list(response.acks.results)
        assert events == len(results)
        for index, result in enumerate(results):
            assert response.acks.first_sequence + index not in answered
            answered[response.acks.first_sequence + index] = result
    assert answered == expected


def test_consecutive_answers_share_a_message_and_notices_keep_their_place() -> None:
    waiting = Answers("e")
    waiting.add(1, [Kept(1, duplicate=False)])
    waiting.add(2, [Kept(2, duplicate=False)])
    waiting.say(pb.PublishEventStreamResponse(closed=pb.PublishClosed()))
    waiting.add(3, [Kept(3, duplicate=False)])
    kinds = [(response.WhichOneof("response"), events) for response, events in taken(waiting)]
    assert kinds == [("acks", 2), ("closed", 0), ("acks", 1)]


def test_a_client_that_reads_offsets_gets_results_only_where_there_is_more_to_say() -> None:
    waiting = Answers("e", offsets=True)
    waiting.add(1, [Kept(1, duplicate=False), Kept(5, duplicate=False)])
    waiting.add(3, [Kept(7, duplicate=False), Kept(2, duplicate=True), Kept(9, duplicate=False)])
    ((response, events),) = taken(waiting)
    assert (list(response.acks.offsets), events) == ([1, 5, 7], 5)
    assert list(response.acks.results) == [pb.PublishResult(offset=2, duplicate=True), pb.PublishResult(offset=9)]


def test_a_message_does_not_grow_without_end() -> None:
    waiting = Answers("e")
    for first in range(1, answers.MAX_RESULTS + 2, 100):
        waiting.add(first, [Kept(1, duplicate=False)] * 100)
    assert len(waiting) == 2


@given(st.integers(1, 2**40), st.integers(1, 400))
def test_a_run_is_answered_as_its_events_are_one_by_one(first: int, count: int) -> None:
    together, single = Answers("epoch"), Answers("epoch")
    together.add_run(5, first, count)
    single.add(5, [Kept(offset, duplicate=False) for offset in range(first, first + count)])
    assert together.take() == single.take()


def test_a_run_begins_below_the_second_byte_of_an_offset() -> None:
    answers = Answers("epoch")
    answers.add_run(1, 120, 20)
    acks = pb.PublishEventStreamResponse.FromString(answers.take()[0]).acks
    assert [each.offset for each in acks.results] == list(range(120, 140))
