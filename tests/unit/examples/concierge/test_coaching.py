"""The classifier: its quality on what it has not seen, and that its evidence is the truth."""

from __future__ import annotations

import itertools
import math
from types import ModuleType

import pytest
from coaching import THRESHOLD, Classifier, Coach, Moment
from corpus import KINDS, OTHER, load
from floor import AGENTS, Floor, agents_of
from playbook import PLAYBOOK, advise

from lanecast import Priority
from lanecast.ai.v1.concierge_pb2 import InsightKind


@pytest.fixture(scope="module")
def coach() -> Coach:
    return Coach(load())


def test_is_far_better_than_guessing_on_businesses_it_has_not_seen(coach: Coach) -> None:
    evaluation = coach.evaluation
    assert evaluation.macro_f1 >= 0.55
    assert evaluation.baseline_macro_f1 <= 0.1
    assert evaluation.shown_precision >= 0.68
    assert 0.5 <= evaluation.shown <= 0.8


def test_evaluation_counts_every_customer_turn_once(coach: Coach) -> None:
    turns = sum(turn.by_customer for conversation in load() for turn in conversation.turns)
    assert coach.evaluation.utterances == turns


def test_the_classifier_of_a_business_has_not_learned_its_words(coach: Coach) -> None:
    utterance = "There's a scratch along the whole left side."  # said about a used car and nowhere else
    own = coach.classifier("used cars")
    other = next(coach.classifier(c.business) for c in load() if coach.classifier(c.business) is not own)
    assert "scratch along" not in {term.text for term in own.log_odds(utterance, "objection")[1]}
    assert "scratch along" in {term.text for term in other.log_odds(utterance, "objection")[1]}


def test_evidence_adds_up_to_the_log_odds(coach: Coach) -> None:
    classifier = coach.classifier("used cars")
    text = "How much would it cost to change it?"
    moment = classifier.judge(text)
    chances = dict(
        zip(
            classifier._model.classes_,
            classifier._model.predict_proba(classifier._features.transform([text]))[0],
            strict=True,
        )
    )
    intercept, terms = classifier.log_odds(text, moment.kind)
    assert intercept + sum(term.weight for term in terms) == pytest.approx(
        math.log(chances[moment.kind] / chances[OTHER])
    )


def test_evidence_is_what_was_said_strongest_first(coach: Coach) -> None:
    text = "I'd like to cancel, I have found a cheaper provider."
    moment = coach.classifier("used cars").judge(text)
    assert moment.kind == "leaving"
    assert moment.evidence
    weights = [term.weight for term in moment.evidence]
    assert weights == sorted(weights, reverse=True)
    assert min(weights) > 0
    assert all(word in text.lower() for term in moment.evidence for word in term.text.split())
    assert len({term.text for term in moment.evidence}) == len(moment.evidence)


def test_is_the_same_each_time() -> None:
    texts, kinds = zip(*((t.text, t.kind) for c in load()[:20] for t in c.turns if t.by_customer), strict=True)
    assert Classifier(texts, kinds).judge("can I sign?") == Classifier(texts, kinds).judge("can I sign?")


@pytest.mark.parametrize(
    ("kind", "confidence", "expected"),
    [("question", THRESHOLD, True), ("question", THRESHOLD - 0.01, False), (OTHER, 0.99, False)],
)
def test_says_only_what_is_worth_saying(kind: str, confidence: float, expected: bool) -> None:
    assert Moment(kind, confidence, ()).worth_saying is expected


def test_playbook_has_advice_for_every_kind_whatever_was_said() -> None:
    assert set(PLAYBOOK) == set(KINDS) - {OTHER}
    for kind, advice in PLAYBOOK.items():
        assert not advice[-1].words
        assert advise(kind, "xyz").hint
        assert advise(kind, " ".join(advice[0].words)) == advice[0]


def test_floor_keeps_all_agents_talking_at_once() -> None:
    turns = list(itertools.islice(Floor(load(), seed=1).turns(), 400))
    assert "42" in AGENTS
    for start in range(0, 400, len(AGENTS)):
        assert {spoken.agent for spoken in turns[start : start + len(AGENTS)]} == set(AGENTS)
    by_talk: dict[str, list[int]] = {}
    for spoken in turns:
        by_talk.setdefault(spoken.conversation_id, []).append(spoken.number)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_talk.values())
    assert turns == list(itertools.islice(Floor(load(), seed=1).turns(), 400))
    assert turns != list(itertools.islice(Floor(load(), seed=2).turns(), 400))


@pytest.mark.parametrize("number", [1, 4, 5, 60])
def test_a_floor_of_any_size_has_agent_42(number: int) -> None:
    agents = agents_of(number)
    assert len(set(agents)) == number
    assert "42" in agents
    assert {spoken.agent for spoken in itertools.islice(Floor(load(), 1, agents).turns(), number)} == set(agents)


def test_the_sixty_agents_of_the_demo_are_those_that_the_audience_listens_to() -> None:
    assert {f"agent:{agent}" for agent in agents_of(60)} == {f"agent:{number}" for number in range(1, 61)}


def test_insights_are_critical_and_go_to_the_agent(coach: Coach, main_module: ModuleType) -> None:
    steps = list(itertools.islice(main_module.insights(coach, Floor(load(), seed=7)), 400))
    sent = [step for step in steps if step is not None]
    assert 100 < len(sent) < 300
    assert {step.channel for step in sent} == {f"agent:{agent}" for agent in AGENTS}
    for step in sent:
        message = step.message
        assert step.priority is Priority.CRITICAL
        assert step.channel == f"agent:{message.agent_id}"
        assert message.kind != InsightKind.INSIGHT_KIND_UNSPECIFIED
        assert message.confidence >= THRESHOLD
        assert message.text
        assert message.suggested_reply
        assert message.utterance
        assert message.turn >= 1
        assert message.utterance_time.seconds > 0
