"""One event of each kind, as the example services would publish them."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from lanecast import Priority
from lanecast.ai.v1 import analytics_pb2, bots_pb2, concierge_pb2, strategy_pb2


@dataclass(frozen=True)
class Sample:
    """An event and where it goes."""

    channel: str
    lane: Priority
    message: Message


def insight(text: str = "The price is the obstacle: name what is included before you offer a discount.") -> Sample:
    message = concierge_pb2.ConciergeInsight(
        text=text,
        kind=concierge_pb2.INSIGHT_KIND_OBJECTION,
        conversation_id="conversation-17",
        agent_id="42",
        turn=6,
        confidence=0.91,
        utterance="Honestly, that is more expensive than the other agency quoted us.",
        suggested_reply="I see. May I show you what their quote leaves out?",
        evidence=[
            concierge_pb2.InsightEvidence(term="expensive", weight=2.1),
            concierge_pb2.InsightEvidence(term="quoted", weight=0.8),
        ],
        model="moments-1",
    )
    return Sample("agent:42", Priority.CRITICAL, message)


def handoff(state: bots_pb2.HandoffState = bots_pb2.HANDOFF_STATE_ACCEPTED) -> Sample:
    message = bots_pb2.BotHandoff(
        handoff_id="handoff-3",
        conversation_id="conversation-17",
        from_bot="greeter",
        to_bot="mortgage",
        state=state,
        reason="The customer asks about fixed and variable rates.",
        summary="First-time buyers, two children, budget 450,000.",
        recent_turns=[bots_pb2.ConversationTurn(speaker="customer", text="What would we pay a month over 25 years?")],
        hop_count=2,
    )
    return Sample("bots:handoffs", Priority.HIGH, message)


def explanation() -> Sample:
    contributions = [
        ("lot size", "6,360 sqft", 9_870.0),
        ("air conditioning", "yes", 7_420.5),
        ("bathrooms", "1", -6_310.25),
        ("storeys", "2", 3_105.0),
        ("driveway", "yes", 1_240.0),
        ("garage places", "0", -980.0),
        ("recreation room", "no", -410.0),
    ]
    base = 68_120.0
    message = analytics_pb2.ShapExplanation(
        prediction_id="valuation-88",
        subject="House 88",
        model="boosted-trees-1",
        target="sale price",
        unit="CAD",
        base_value=base,
        prediction=base + sum(value for _, _, value in contributions),
        contributions=[
            analytics_pb2.FeatureContribution(feature=name, display_value=shown, contribution=value)
            for name, shown, value in contributions
        ],
        tolerance=0.01,
        observed=84_000.0,
    )
    return Sample("analytics:valuations", Priority.NORMAL, message)


def recommendation() -> Sample:
    message = strategy_pb2.StrategyRecommendation(
        recommendation_id="recommendation-5",
        segment="first-time-buyer",
        action="offer-viewing",
        rationale="Viewings have turned into offers most often in this segment.",
        expected_reward=0.62,
        reward_lower=0.51,
        reward_upper=0.72,
        interval_mass=0.9,
        evidence=[
            strategy_pb2.ActionEvidence(action=action, trials=trials, successes=successes, probability_best=best)
            for action, trials, successes, best in (
                ("offer-viewing", 214, 133, 0.86),
                ("send-comparison", 140, 71, 0.11),
                ("call-back", 61, 24, 0.03),
            )
        ],
        model="thompson-1",
    )
    return Sample("strategy:recommendations", Priority.LOW, message)


def one_of_each() -> list[Sample]:
    return [insight(), handoff(), explanation(), recommendation()]
