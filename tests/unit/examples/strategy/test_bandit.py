"""The bandit learns, its evidence is right, and replay does not deceive."""

from __future__ import annotations

import itertools
from types import ModuleType

import numpy as np
import pytest
from bandit import INTERVAL_MASS, Bandit
from outcomes import ACTIONS, Household, decisions, load_households, regret, replay, replay_uniform

from lanecast import Priority


@pytest.fixture(scope="module")
def households() -> list[Household]:
    return load_households()


def taught(trials: dict[str, tuple[int, int]]) -> Bandit:
    bandit = Bandit(list(trials), seed=1)
    for action, (successes, failures) in trials.items():
        for outcome in [1] * successes + [0] * failures:
            bandit.learn("s", action, outcome)
    return bandit


def test_evidence_states_trials_successes_and_the_posterior() -> None:
    choice = taught({"a": (30, 10), "b": (10, 30)}).explain("s", "a")
    best, worst = choice.evidence
    assert (best.action, best.trials, best.successes) == ("a", 40, 30)
    assert best.mean == pytest.approx(31 / 42)
    assert choice.mean == best.mean
    assert best.probability_best > 0.99
    assert best.probability_best + worst.probability_best == pytest.approx(1)
    assert not choice.exploratory


def test_interval_holds_the_stated_mass() -> None:
    choice = taught({"a": (30, 10), "b": (10, 30)}).explain("s", "a")
    draws = np.random.default_rng(99).beta(31, 11, size=100_000)
    inside = np.mean((draws >= choice.lower) & (draws <= choice.upper))
    assert inside == pytest.approx(INTERVAL_MASS, abs=0.02)


def test_choosing_what_looks_worse_is_called_exploratory() -> None:
    assert taught({"a": (30, 10), "b": (10, 30)}).explain("s", "b").exploratory


def test_segments_are_learned_apart() -> None:
    bandit = Bandit(["a", "b"], seed=1)
    bandit.learn("young", "a", 1)
    assert bandit.records("young")["a"].trials == 1
    assert bandit.records("old")["a"].trials == 0


def test_showing_evidence_does_not_change_the_choices() -> None:
    quiet, shown = Bandit(ACTIONS, seed=3), Bandit(ACTIONS, seed=3)
    chosen = []
    for _ in range(50):
        action = shown.choose("s")
        shown.explain("s", action)
        chosen.append(action)
    assert chosen == [quiet.choose("s") for _ in range(50)]


def test_the_data_are_the_experiment(households: list[Household]) -> None:
    assert len(households) == 1406
    assert {household.action for household in households} == set(ACTIONS)
    assert len({household.segment for household in households}) == 3
    assert np.mean([household.bought for household in households]) == pytest.approx(0.4637, abs=0.001)


def test_regret_is_far_below_that_of_choosing_at_random_and_goes_down(households: list[Household]) -> None:
    learned = np.array([regret(households, seed, 3000, learning=True) for seed in range(6)])
    uniform = np.array([regret(households, seed, 3000, learning=False) for seed in range(6)])
    assert learned.sum() < 0.5 * uniform.sum()
    assert learned[:, 2000:].sum() < 0.5 * learned[:, :1000].sum()
    assert uniform[:, 2000:].sum() == pytest.approx(uniform[:, :1000].sum(), rel=0.1)


def test_replaying_a_random_policy_gives_the_experiments_own_rate(households: list[Household]) -> None:
    outcomes = [outcome for seed in range(30) for outcome in replay_uniform(households, seed)]
    assert np.mean(outcomes) == pytest.approx(np.mean([household.bought for household in households]), abs=0.01)


def test_replaying_the_bandit_sells_more(households: list[Household]) -> None:
    learned = [outcome for seed in range(30) for outcome in replay(households, seed)]
    uniform = [outcome for seed in range(30) for outcome in replay_uniform(households, seed)]
    assert np.mean(learned) > np.mean(uniform)


def test_each_household_counts_at_most_once_a_season(households: list[Household]) -> None:
    seen = list(itertools.islice(decisions(households, seed=7), 600))
    assert [decision.season for decision in seen] == sorted(decision.season for decision in seen)
    first = [decision for decision in seen if decision.season == 1]
    assert 250 < len(first) < 500
    assert sum(item.trials for item in first[0].choice.evidence) == 0
    second = next(decision for decision in seen if decision.season == 2)
    assert sum(item.trials for item in second.choice.evidence) == 0


def test_evidence_is_what_was_known_before_the_outcome(households: list[Household]) -> None:
    trials: dict[tuple[str, str], list[int]] = {}
    for decision in itertools.islice(decisions(households, seed=7), 200):
        choice = decision.choice
        for item in choice.evidence:
            outcomes = trials.get((choice.segment, item.action), [])
            assert (item.trials, item.successes) == (len(outcomes), sum(outcomes))
        trials.setdefault((choice.segment, choice.action), []).append(decision.bought)


def test_the_event_carries_all_of_it(households: list[Household], main_module: ModuleType) -> None:
    for sent in itertools.islice(main_module.recommendations(decisions(households, seed=7)), 150):
        message = sent.message
        assert (sent.channel, sent.priority) == ("strategy:recommendations", Priority.LOW)
        assert message.reward_lower < message.expected_reward < message.reward_upper
        assert {item.action for item in message.evidence} == set(ACTIONS)
        assert sum(item.probability_best for item in message.evidence) == pytest.approx(1)
        assert message.rationale.endswith(".")
        assert message.exploratory == (message.evidence[0].mean_reward > message.expected_reward)
