"""Thompson sampling over Beta posteriors: learns which action works for which segment while it acts.

Owns posteriors, choice and evidence. Pure; called by `outcomes.py` and `main.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

INTERVAL_MASS = 0.9
DRAWS = 4000
"""Monte Carlo draws behind each probability of being best: its standard error is below 0.008."""


@dataclass(slots=True)
class Record:
    """What is known of one action in one segment. The prior is uniform: Beta(1, 1)."""

    trials: int = 0
    successes: int = 0

    @property
    def alpha(self) -> float:
        """First parameter of the posterior."""
        return 1.0 + self.successes

    @property
    def beta(self) -> float:
        """Second parameter of the posterior."""
        return 1.0 + self.trials - self.successes

    @property
    def mean(self) -> float:
        """Mean of the posterior."""
        return self.alpha / (self.alpha + self.beta)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One action as a recommendation shows it."""

    action: str
    trials: int
    successes: int
    mean: float
    probability_best: float


@dataclass(frozen=True, slots=True)
class Choice:
    """An action for a segment, with all that speaks for and against it."""

    segment: str
    action: str
    mean: float
    lower: float
    upper: float
    """Ends of the credible interval of `INTERVAL_MASS`."""
    exploratory: bool
    """True where another action has the higher mean so far."""
    evidence: tuple[Evidence, ...]
    """All actions, highest mean first."""


class Bandit:
    """Learns from outcomes of 0 or 1."""

    def __init__(self, actions: Sequence[str], seed: int) -> None:
        self.actions = tuple(actions)
        self._random = np.random.default_rng(seed)
        self._evidence_random = np.random.default_rng([seed, 1])  # showing evidence must not change what is chosen
        self._records: dict[str, list[Record]] = {}

    def records(self, segment: str) -> dict[str, Record]:
        """Return what is known of each action in a segment."""
        return dict(zip(self.actions, self._segment(segment), strict=True))

    def choose(self, segment: str) -> str:
        """Draw a reward for each action from its posterior and return the action with the highest."""
        records = self._segment(segment)
        draws = self._random.beta([record.alpha for record in records], [record.beta for record in records])
        return self.actions[int(np.argmax(draws))]

    def learn(self, segment: str, action: str, outcome: int) -> None:
        """Take in what came of an action."""
        record = self._segment(segment)[self.actions.index(action)]
        record.trials += 1
        record.successes += outcome

    def explain(self, segment: str, action: str) -> Choice:
        """Return an action with its evidence, as it stands."""
        records = self._segment(segment)
        draws = self._evidence_random.beta(
            [record.alpha for record in records], [record.beta for record in records], size=(DRAWS, len(records))
        )
        best = np.bincount(np.argmax(draws, axis=1), minlength=len(records)) / DRAWS
        chosen = self.actions.index(action)
        tail = (1 - INTERVAL_MASS) / 2
        lower, upper = np.quantile(draws[:, chosen], [tail, 1 - tail])
        evidence = [
            Evidence(name, record.trials, record.successes, record.mean, float(share))
            for name, record, share in zip(self.actions, records, best, strict=True)
        ]
        return Choice(
            segment=segment,
            action=action,
            mean=records[chosen].mean,
            lower=float(lower),
            upper=float(upper),
            exploratory=records[chosen].mean < max(record.mean for record in records),
            evidence=tuple(sorted(evidence, key=lambda item: item.mean, reverse=True)),
        )

    def _segment(self, segment: str) -> list[Record]:
        return self._records.setdefault(segment, [Record() for _ in self.actions])
