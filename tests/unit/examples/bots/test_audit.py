"""The audit finds handoffs that were lost or doubled."""

from __future__ import annotations

from dataclasses import replace

from audit import Audit, owners_at_the_end
from handoff import Desk, Message, Step, Talk


def message(
    step: Step, *, handoff: str = "h1", hop: int = 1, sender: str = "triage", receiver: str = "sales"
) -> Message:
    return Message(handoff, sender, receiver, step, Talk("t", hop), deadline=10)


def seen(*messages: Message) -> Audit:
    audit = Audit()
    for item in messages:
        audit.see(item)
    return audit


def test_a_chain_of_handoffs_is_fine() -> None:
    audit = seen(
        message(Step.OFFERED),
        message(Step.ACCEPTED),
        message(Step.CONFIRMED),
        message(Step.OFFERED, handoff="h2", hop=2, sender="sales", receiver="support"),
        message(Step.TIMED_OUT, handoff="h2", hop=2, sender="sales", receiver="support"),
        message(Step.OFFERED, handoff="h3", hop=2, sender="sales", receiver="triage"),
        message(Step.CONFIRMED, handoff="h3", hop=2, sender="sales", receiver="triage"),
    )
    assert (audit.confirmed, audit.timed_out, audit.doubled, audit.lost(1000, 0)) == (2, 1, [], [])


def test_repeats_are_counted_and_harmless() -> None:
    audit = seen(*[message(step) for step in (Step.OFFERED, Step.CONFIRMED) for _ in range(3)])
    assert (audit.confirmed, audit.repeats, audit.doubled) == (1, 4, [])


def test_an_offer_without_an_end_is_lost_when_it_has_lapsed() -> None:
    audit = seen(message(Step.OFFERED), message(Step.ACCEPTED))
    assert audit.lost(11, patience=2) == []
    assert audit.lost(12.1, patience=2) == ["h1"]


def test_a_declined_offer_is_not_lost() -> None:
    audit = seen(message(Step.OFFERED), message(Step.DECLINED), message(Step.DECLINED))
    assert (audit.declined, audit.repeats, audit.lost(1000, 0)) == (1, 1, [])


def test_confirming_twice_to_different_bots_is_doubled() -> None:
    audit = seen(message(Step.CONFIRMED), message(Step.CONFIRMED, handoff="h2", receiver="support"))
    assert audit.doubled == ["h2: triage gives away what sales owns"]


def test_offering_what_somebody_else_owns_is_doubled() -> None:
    audit = seen(message(Step.CONFIRMED), message(Step.OFFERED, handoff="h2"))
    assert audit.doubled == ["h2: triage offers what sales owns"]


def test_confirming_what_has_timed_out_is_doubled() -> None:
    audit = seen(message(Step.OFFERED), message(Step.TIMED_OUT), message(Step.CONFIRMED))
    assert audit.doubled == ["h1: first timed_out, then confirmed"]


def test_forgets_what_ended_long_ago_and_keeps_what_did_not() -> None:
    audit = seen(message(Step.CONFIRMED), replace(message(Step.OFFERED, handoff="h9"), talk=Talk("other", 1)))
    audit.forget(now=10_000)
    assert audit.lost(10_000, 0) == ["h9"]
    assert list(audit._open) == ["h9"]
    assert list(audit._holders) == ["other"]


def test_bots_that_agree_are_fine() -> None:
    giver, receiver = Desk("triage"), Desk("sales")
    giver.open("a")
    giver.open("b")
    giver.open("c")
    giver.close("c")
    (offered,) = giver.offer("a", "sales", 0)
    (accepted,) = receiver.receive(offered, 0)
    assert owners_at_the_end([giver, receiver]) == []
    (confirmed,) = giver.receive(accepted, 0)
    assert owners_at_the_end([giver, receiver]) == []
    receiver.receive(confirmed, 0)
    assert owners_at_the_end([giver, receiver]) == []


def test_a_conversation_that_nobody_has_is_found() -> None:
    giver = Desk("triage")
    giver.open("a")
    del giver.owned["a"]
    assert owners_at_the_end([giver]) == ["1 conversations were opened, 0 are closed, owned or on their way"]


def test_a_conversation_that_two_have_is_found() -> None:
    giver, receiver = Desk("triage"), Desk("sales")
    giver.open("a")
    receiver.owned["a"] = giver.owned["a"]
    assert "a has 2 owners" in owners_at_the_end([giver, receiver])
