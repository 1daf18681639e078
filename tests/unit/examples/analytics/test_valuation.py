"""Valuations: the data, the quality of the model, and that explanations add up."""

from __future__ import annotations

import itertools
from types import ModuleType

import pandas as pd
import pytest
import service
from valuation import TOLERANCE, Market, Valuer, load_houses

from lanecast import Priority


@pytest.fixture(scope="module")
def houses() -> pd.DataFrame:
    return load_houses()


@pytest.fixture(scope="module")
def valuer(houses: pd.DataFrame) -> Valuer:
    return Valuer(houses, seed=7)


def test_the_data_are_the_546_sales_of_windsor(houses: pd.DataFrame) -> None:
    assert len(houses) == 546
    assert houses["price"].mean() == pytest.approx(68121.597)
    assert not houses.isna().to_numpy().any()
    assert set(houses["aircon"]) == {0.0, 1.0}


@pytest.mark.parametrize("seed", [1, 7, 42])
def test_is_much_better_than_the_mean_on_held_out_houses(houses: pd.DataFrame, seed: int) -> None:
    evaluation = Valuer(houses, seed).evaluate()
    assert evaluation.houses == 164
    assert evaluation.mean_error < 0.65 * evaluation.mean_error_of_the_mean
    assert evaluation.mean_share < 0.22


def test_every_explanation_adds_up(valuer: Valuer) -> None:
    valuations = list(itertools.islice(valuer.valuations(seed=1), 164))
    assert max(valuation.error_of_sum for valuation in valuations) < TOLERANCE
    assert len({valuation.house for valuation in valuations}) == 164
    assert len({valuation.base for valuation in valuations}) == 1


def test_only_houses_that_were_held_out_are_valued(valuer: Valuer, houses: pd.DataFrame) -> None:
    for valuation in itertools.islice(valuer.valuations(seed=1), 400):
        assert valuation.house in valuer.held_out.index
        assert valuation.observed == houses.loc[valuation.house, "price"]


def test_the_market_values_every_house_by_a_model_that_has_not_seen_it(houses: pd.DataFrame) -> None:
    folds = [Valuer(houses, 7, fold) for fold in range(4)]
    valued = list(itertools.islice(Market(houses, 7).valuations(seed=1), 546))
    assert {valuation.house for valuation in valued} == set(houses.index)
    for valuation in valued:
        assert valuation.observed == houses.loc[valuation.house, "price"]
    for valuation in valued[::20]:
        house = valuation.house
        strangers = [fold for fold in folds if house in fold.held_out.index]
        assert valuation in [fold.value(fold.held_out.loc[[house]]) for fold in strangers]


def test_watched_houses_get_their_valuation_and_the_channel_of_all_stays(
    houses: pd.DataFrame, valuer: Valuer, main_module: ModuleType
) -> None:
    market = main_module.watched(Market(houses, 7).valuations(seed=1))
    mixed = service.both(main_module.explanations(valuer.valuations(seed=1)), 2.0, market, 98.0)
    sent = list(itertools.islice(mixed, 600))
    own = [each for each in sent if each.channel == "analytics:valuations"]
    assert len(own) == 12
    assert {each.channel for each in sent} - {"analytics:valuations"} == {f"house:{house}" for house in houses.index}
    assert len({each.message.prediction_id for each in sent}) == 600
    for each in sent:
        assert each.channel in {"analytics:valuations", f"house:{each.message.prediction_id.split('-')[1]}"}


def test_an_explanation_that_does_not_add_up_is_refused(valuer: Valuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valuation.TOLERANCE", -1.0)
    with pytest.raises(ArithmeticError, match="miss the prediction"):
        next(valuer.valuations(seed=1))


def test_shap_values_react_as_the_feature_does(valuer: Valuer) -> None:
    house = valuer.held_out.iloc[[0]].copy()
    house["aircon"] = 0.0
    without = valuer.value(house)
    house["aircon"] = 1.0
    with_aircon = valuer.value(house)
    amounts = [
        next(part.contribution for part in valuation.parts if part.feature == "air conditioning")
        for valuation in (without, with_aircon)
    ]
    assert amounts[0] < amounts[1]
    assert with_aircon.prediction > without.prediction


def test_the_event_carries_all_of_it(valuer: Valuer, main_module: ModuleType) -> None:
    for sent in itertools.islice(main_module.explanations(valuer.valuations(seed=1)), 20):
        message = sent.message
        assert (sent.channel, sent.priority) == ("analytics:valuations", Priority.NORMAL)
        total = message.base_value + sum(part.contribution for part in message.contributions)
        assert total + message.remaining_contribution == pytest.approx(message.prediction, abs=message.tolerance)
        amounts = [abs(part.contribution) for part in message.contributions]
        assert amounts == sorted(amounts, reverse=True)
        assert len(amounts) == 11
        assert message.observed > 0
        assert message.unit == "CAD"
