"""Which desk a customer's words are for, and the mapping to the contract."""

from __future__ import annotations

import pytest
from desks import DESKS, desk_for, load, reply
from handoff import Line, Message, Step, Talk
from wire import MAX_TURNS, from_event, to_event

from lanecast.ai.v1.bots_pb2 import BotHandoff, HandoffState


def test_every_turn_of_the_scripts_goes_to_the_desk_it_is_for() -> None:
    handoffs = 0
    for turns in load().values():
        desk = DESKS[0]
        for expected, text in turns:
            chosen = desk_for(text, desk)
            assert (text, chosen) == (text, expected)
            handoffs += chosen != desk
            desk = chosen
    assert handoffs >= 15


def test_words_that_tell_nothing_stay_where_they_are() -> None:
    assert [desk_for("Thank you very much.", desk) for desk in DESKS] == list(DESKS)


def test_words_for_two_desks_stay_where_they_are() -> None:
    assert desk_for("What is the price of a router?", "support") == "support"
    assert desk_for("What is the price of a router?", "sales") == "sales"


def test_scripts_fit_into_an_event() -> None:
    assert all(2 * len(turns) <= MAX_TURNS for turns in load().values())


def test_replies_are_never_empty() -> None:
    assert all(reply(desk, turn) for desk in DESKS for turn in range(10))


@pytest.mark.parametrize("step", list(Step))
def test_a_message_survives_the_wire(step: Step) -> None:
    lines = (Line("customer", "hello", 1700000000.25), Line("triage", "hi", 1700000001.5))
    message = Message("h", "triage", "sales", step, Talk("t", 3, lines), 1700000005.125, "why", "what")
    event = BotHandoff.FromString(to_event(message).SerializeToString())
    assert from_event(event) == message


def test_a_state_of_a_newer_contract_is_ignored() -> None:
    assert from_event(BotHandoff(state=HandoffState.HANDOFF_STATE_UNSPECIFIED)) is None
