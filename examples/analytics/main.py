"""Analytics: values houses and says why, one explanation per valuation.

    python examples/analytics/main.py --target 127.0.0.1:7400

A gradient-boosted model values houses that it was not trained on. Each value goes out as a ShapExplanation in the
NORMAL lane of `analytics:valuations`: base value, what each feature adds, and the price that was really paid. With
`--watched` every house also has a channel of its own, `house:<number>`, for those who watch it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lanecast import Priority
from lanecast.ai.v1.analytics_pb2 import FeatureContribution, ShapExplanation

sys.path.append(str(Path(__file__).resolve().parents[1]))

import service

if TYPE_CHECKING:
    from valuation import Valuation

NAME = "analytics"
CHANNEL = "analytics:valuations"
MODEL = "windsor-houses/1"


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; return the exit code."""
    parser = service.parser(NAME, "Value houses and explain each value.", rate=2, rate_help="valuations a second")
    parser.add_argument(
        "--watched", type=service.rate_of, default=0.0, help="valuations a second to house:<number> (default 0: none)"
    )
    return service.run(NAME, parser.parse_args(arguments), prepare)


def prepare(options: argparse.Namespace) -> service.Events:
    """Train, say how good the model is, and return the explanations."""
    from valuation import Market, Valuer, load_houses  # after the options: these need libraries that may be missing

    houses = load_houses()
    valuer = Valuer(houses, options.seed)
    sys.stdout.write(f"{valuer.evaluate()}\n")
    sys.stdout.flush()
    valued = explanations(valuer.valuations(options.seed))
    if not options.watched:
        return valued
    own_rate, options.rate = options.rate, options.rate + options.watched
    market = Market(houses, options.seed)
    return service.both(valued, own_rate, watched(market.valuations(options.seed)), options.watched)


def explanations(valuations: Iterator[Valuation]) -> Iterator[service.Outgoing]:
    """Yield an event per valuation."""
    for number, valuation in enumerate(valuations, start=1):
        yield service.Outgoing(CHANNEL, explanation(valuation, number), Priority.NORMAL)


def watched(valuations: Iterator[Valuation]) -> Iterator[service.Outgoing]:
    """Yield an event per valuation, to the channel of the house."""
    known: dict[int, ShapExplanation] = {}  # but for its name, a house's explanation stays the same
    for number, valuation in enumerate(valuations, start=1):
        house = valuation.house
        if house not in known:
            known[house] = explanation(valuation, number)
        message = ShapExplanation()
        message.CopyFrom(known[house])
        message.prediction_id = f"house-{house}-watched-{number}"
        yield service.Outgoing(f"house:{house}", message, Priority.NORMAL)


def explanation(valuation: Valuation, number: int) -> ShapExplanation:
    """Put a valuation into the words of the contract."""
    from valuation import TOLERANCE

    return ShapExplanation(
        prediction_id=f"house-{valuation.house}-{number}",
        subject=f"House {valuation.house}, Windsor, Ontario, 1987",
        model=MODEL,
        target="sale price",
        unit="CAD",
        base_value=valuation.base,
        prediction=valuation.prediction,
        contributions=[
            FeatureContribution(
                feature=part.feature,
                display_value=part.display,
                numeric_value=part.value,
                contribution=part.contribution,
            )
            for part in valuation.parts
        ],
        tolerance=TOLERANCE,
        observed=valuation.observed,
    )


if __name__ == "__main__":
    sys.exit(main())
