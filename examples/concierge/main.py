"""Concierge: follows sales conversations turn by turn and whispers to the agent.

    python examples/concierge/main.py --target 127.0.0.1:7400

A customer's turn goes through a trained classifier. Where it is a coaching moment, the agent gets a ConciergeInsight in
the CRITICAL lane of the channel `agent:<number>`: worth most in the second it is made.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from lanecast import Priority
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight, InsightEvidence, InsightKind

sys.path.append(str(Path(__file__).resolve().parents[1]))

import service
from corpus import load
from floor import AGENTS, Floor, Spoken, agents_of
from playbook import advise

if TYPE_CHECKING:
    from coaching import Coach, Moment

NAME = "concierge"
MODEL = "coaching-moments/1"
KIND: dict[str, InsightKind.ValueType] = {
    "objection": InsightKind.INSIGHT_KIND_OBJECTION,
    "buying": InsightKind.INSIGHT_KIND_BUYING_SIGNAL,
    "leaving": InsightKind.INSIGHT_KIND_CHURN_RISK,
    "question": InsightKind.INSIGHT_KIND_QUESTION,
    "rule": InsightKind.INSIGHT_KIND_COMPLIANCE,
}


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; return the exit code."""
    parser = service.parser(NAME, "Coach sales agents, turn by turn.", rate=4, rate_help="turns a second, all agents")
    parser.add_argument(
        "--agents", type=service.size, default=len(AGENTS), help=f"agents on the floor (default {len(AGENTS)})"
    )
    return service.run(NAME, parser.parse_args(arguments), prepare)


def prepare(options: argparse.Namespace) -> service.Events:
    """Train, say how good the classifier is, and return the insights."""
    conversations = load()
    sys.stdout.write(f"learning from {len(conversations)} conversations\n")
    sys.stdout.flush()
    from coaching import Coach  # not before the options: training needs libraries that may be missing

    coach = Coach(conversations)
    sys.stdout.write(f"{coach.evaluation}\n")
    sys.stdout.flush()
    return insights(coach, Floor(conversations, options.seed, agents_of(options.agents)))


def insights(coach: Coach, floor: Floor) -> Iterator[service.Outgoing | None]:
    """Yield one step per turn: an insight where the turn is a coaching moment, else None."""
    for spoken in floor.turns():
        if not spoken.turn.by_customer:
            yield None
            continue
        moment = coach.classifier(spoken.conversation.business).judge(spoken.turn.text)
        if moment.worth_saying:
            message = insight(spoken, moment, time.time_ns())
            yield service.Outgoing(f"agent:{spoken.agent}", message, Priority.CRITICAL)
        else:
            yield None


def insight(spoken: Spoken, moment: Moment, said_ns: int) -> ConciergeInsight:
    """Put a moment into the words of the contract."""
    advice = advise(moment.kind, spoken.turn.text)
    said = Timestamp()
    said.FromNanoseconds(said_ns)
    return ConciergeInsight(
        text=advice.hint,
        kind=KIND[moment.kind],
        conversation_id=spoken.conversation_id,
        agent_id=spoken.agent,
        turn=spoken.number,
        confidence=moment.confidence,
        utterance=spoken.turn.text,
        suggested_reply=advice.reply,
        evidence=[InsightEvidence(term=term.text, weight=term.weight) for term in moment.evidence],
        model=MODEL,
        utterance_time=said,
    )


if __name__ == "__main__":
    sys.exit(main())
