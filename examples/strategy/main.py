"""Strategy: learns which offer works for whom and recommends it, with the evidence.

    python examples/strategy/main.py --target 127.0.0.1:7400

Each decision of a Thompson-sampling bandit goes out as a StrategyRecommendation in the LOW lane of
`strategy:recommendations`; then the bandit learns what came of it in a real experiment.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lanecast import Priority
from lanecast.ai.v1.strategy_pb2 import ActionEvidence, StrategyRecommendation

sys.path.append(str(Path(__file__).resolve().parents[1]))

import service

if TYPE_CHECKING:
    from outcomes import Decision

NAME = "strategy"
CHANNEL = "strategy:recommendations"
MODEL = "thompson-sampling/1"
JUDGED_SEASONS = 20


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; return the exit code."""
    parser = service.parser(NAME, "Recommend what works for whom.", rate=1, rate_help="recommendations a second")
    return service.run(NAME, parser.parse_args(arguments), prepare)


def prepare(options: argparse.Namespace) -> service.Events:
    """Say how much learning helps, and return the recommendations."""
    from outcomes import decisions, load_households, replay, replay_uniform

    households = load_households()
    seasons = range(options.seed, options.seed + JUDGED_SEASONS)
    learned = [outcome for seed in seasons for outcome in replay(households, seed)]
    uniform = [outcome for seed in seasons for outcome in replay_uniform(households, seed)]
    sys.stdout.write(
        f"{len(households)} households, {JUDGED_SEASONS} replayed seasons: {sum(learned) / len(learned):.1%} bought, "
        f"{sum(uniform) / len(uniform):.1%} with actions at random\n"
    )
    sys.stdout.flush()
    return recommendations(decisions(households, options.seed))


def recommendations(decisions: Iterator[Decision]) -> Iterator[service.Outgoing]:
    """Yield an event per decision."""
    for number, decision in enumerate(decisions, start=1):
        yield service.Outgoing(CHANNEL, recommendation(decision, number), Priority.LOW)


def recommendation(decision: Decision, number: int) -> StrategyRecommendation:
    """Put a decision into the words of the contract."""
    from bandit import INTERVAL_MASS

    choice = decision.choice
    return StrategyRecommendation(
        recommendation_id=f"season-{decision.season}-{number}",
        segment=choice.segment,
        action=choice.action,
        rationale=rationale(decision),
        expected_reward=choice.mean,
        reward_lower=choice.lower,
        reward_upper=choice.upper,
        interval_mass=INTERVAL_MASS,
        exploratory=choice.exploratory,
        evidence=[
            ActionEvidence(
                action=item.action,
                trials=item.trials,
                successes=item.successes,
                mean_reward=item.mean,
                probability_best=item.probability_best,
            )
            for item in choice.evidence
        ],
        model=MODEL,
    )


def rationale(decision: Decision) -> str:
    """Return one sentence that says why."""
    choice = decision.choice
    chosen = next(item for item in choice.evidence if item.action == choice.action)
    if choice.exploratory:
        best = choice.evidence[0]
        return (
            f"Tried {chosen.trials} times so far, too few to rule it out: it is best with probability "
            f"{chosen.probability_best:.2f}, {best.action} with {best.probability_best:.2f}."
        )
    return (
        f"{chosen.successes} of {chosen.trials} bought, the best expectation of {len(choice.evidence)} actions; "
        f"it is best with probability {chosen.probability_best:.2f}."
    )


if __name__ == "__main__":
    sys.exit(main())
