"""What an agent could do in a coaching moment: a hint and a reply for each kind, chosen by the words of the customer.

Owns the texts. Knows neither classifier nor events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"[a-z']+")


@dataclass(frozen=True, slots=True)
class Advice:
    """A hint for the agent and a reply the agent could give."""

    words: frozenset[str]
    """Words of the customer that call for this advice; empty: good for any words."""
    hint: str
    reply: str


def _advice(words: str, hint: str, reply: str) -> Advice:
    return Advice(frozenset(words.split()), hint, reply)


PLAYBOOK: dict[str, tuple[Advice, ...]] = {
    "objection": (
        _advice(
            "price expensive thousand hundred cost costs fee fees pay paying budget lower cheaper half money charge",
            "Objection to the price: ask what it is compared with before you offer anything.",
            "I understand. May I ask what you are comparing it with, so that we look at the same thing?",
        ),
        _advice(
            "tied contract years months month long term",
            "Objection to the commitment: offer the shortest term or a way out.",
            "You need not commit for that long; may I show you the shorter term?",
        ),
        _advice(
            "promised told said repaired never website days last time again",
            "A broken promise: own it first, then name one step with a date.",
            "That should not have happened, and I am sorry. Here is what I will do, and by when.",
        ),
        _advice(
            "worried scared read review break nervous believe",
            "Doubt about quality: offer proof or a trial instead of reassurance.",
            "That is a fair concern. Shall I send you the test report, or would you rather try it first?",
        ),
        _advice(
            "",
            "Objection: repeat it in your own words before you answer.",
            "If I understand you rightly, that is what holds you back. Is there anything else besides it?",
        ),
    ),
    "buying": (
        _advice(
            "when start begin deliver install come",
            "Ready to buy and asking for a date: name one and book it now.",
            "I can reserve the first free date for you right now. Does that suit you?",
        ),
        _advice(
            "sign signature contract papers send mail form",
            "Ready to sign: send the papers while you are talking.",
            "The papers are in your mailbox in a minute. Shall we go through them together?",
        ),
        _advice(
            "",
            "Ready to buy: stop selling, confirm what was agreed and the next step.",
            "Wonderful. Let me sum up what we have agreed, then I will place the order.",
        ),
    ),
    "leaving": (
        _advice(
            "offer better competitor company provider supplier switch switching moving else elsewhere signed",
            "About to go to somebody else: ask what decided it, do not talk the others down.",
            "Thank you for telling me. What was it that decided it for you?",
        ),
        _advice(
            "cancel end quit close terminate membership contract notice account",
            "Wants to cancel: confirm that it will be done, then ask for the one thing that would change it.",
            "I will take care of it. Before I do: is there one thing that would have made you stay?",
        ),
        _advice(
            "",
            "About to leave: acknowledge it and make the way back easy.",
            "I understand. I will note everything so that you need not explain it twice.",
        ),
    ),
    "question": (
        _advice(
            "much cost price pay charge rate fee discount",
            "Asked for a price: give the number first, the reasons afterwards.",
            "All in all that comes to the amount on your screen; here is what it includes.",
        ),
        _advice(
            "when long how quickly fast notice",
            "Asked how long it takes: give a date, not a duration.",
            "I will look up the exact date for you now, so that you can count on it.",
        ),
        _advice(
            "",
            "A direct question: answer it in one sentence, then ask back.",
            "Good question. The short answer first, and then I would like to know why you ask.",
        ),
    ),
    "rule": (
        _advice(
            "guarantee promise guaranteed confirm cures",
            "No promises here: give the facts and where they come from.",
            "I cannot promise that. What I can do is show you the figures and how they were measured.",
        ),
        _advice(
            "data delete deleted photo recorded recording consent file erased marketing details",
            "A right over personal data: confirm it, say by when, and note it.",
            "You are entitled to that. I am noting your request now, and you will get a confirmation in writing.",
        ),
        _advice(
            "cash invoice form mention say write backdate earlier number sign card",
            "This must not be agreed to: decline kindly and offer the correct way.",
            "I am not allowed to do that. There is a correct way that may help you, though: let me explain it.",
        ),
        _advice(
            "",
            "A rule applies: say what you must say before you go on.",
            "Before we go on there is something that I have to tell you.",
        ),
    ),
}


def advise(kind: str, utterance: str) -> Advice:
    """Return the advice for a kind whose words the utterance shares most; of equals the first."""
    said = frozenset(_WORD.findall(utterance.lower()))
    return max(PLAYBOOK[kind], key=lambda advice: len(advice.words & said))
