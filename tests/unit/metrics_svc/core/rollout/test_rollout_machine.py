"""Whatever is seen and asked, in whatever order: exposure grows only by a verdict, an approval or an override."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from rollout_world import AGENTS, PLAN, World

from metrics_svc.core.rollout.history import HistoryError, fold, plan_data, plan_of
from metrics_svc.core.rollout.machine import legal, recover, tick
from metrics_svc.core.rollout.model import (
    NANOS,
    RETURNING,
    Hold,
    IllegalVerbError,
    Rollout,
    StaleVersionError,
    State,
    Verb,
    Verdict,
)  # fmt: skip
from metrics_svc.core.rollout.results import RuleResult


def test_good_news_lead_through_all_stages_to_the_end() -> None:
    world = World()
    world.to(State.COMPLETED)
    grown = [exposure for _, exposure in sorted(world.assignments.items())]
    assert grown == [0, 0, 1_000, 5_000, 10_000]
    assert world.rollout.exposure == 10_000
    assert legal(world.rollout) == ()


@pytest.mark.parametrize("verdict", [Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_only_pass_advances(verdict: Verdict) -> None:
    world = World()
    world.to(State.ANALYSING)
    for _ in range(50):
        world.tick(2.0, verdict)
    assert world.rollout.state is State.HELD
    assert world.rollout.hold is (Hold.INCONCLUSIVE if verdict is Verdict.INCONCLUSIVE else Hold.NO_DATA)
    assert world.rollout.exposure == 1_000


def test_no_look_at_all_advances_nothing() -> None:
    world = World()
    world.to(State.ANALYSING)
    for _ in range(200):
        world.tick(60.0)
    assert world.rollout.state is State.ANALYSING


@pytest.mark.parametrize("state", [State.PROPAGATING, State.SETTLING, State.ANALYSING, State.GATED, State.BAKING])
def test_two_failures_in_a_row_take_everything_back_wherever_it_is(state: State) -> None:
    world = World()
    world.to(state)
    generation = world.rollout.generation
    world.agents.clear()  # nobody confirms: it stays where it is
    world.tick(0.1, Verdict.FAIL)
    assert world.rollout.state is state
    world.tick(0.1, Verdict.FAIL)
    assert (world.rollout.state, world.rollout.exposure) == (State.ROLLING_BACK, 0)
    assert world.rollout.generation == generation + 1


def test_a_held_rollout_is_guarded() -> None:
    world = World()
    world.to(State.ANALYSING)
    world.ask(Verb.PAUSE)
    world.tick(2.0, Verdict.PASS)
    assert world.rollout.state is State.HELD
    world.tick(2.0, Verdict.FAIL)
    world.tick(2.0, Verdict.FAIL)
    assert world.rollout.state is State.ROLLING_BACK


def test_a_critical_failure_acts_at_once() -> None:
    world = World()
    world.to(State.ANALYSING)
    lost = RuleResult("invariant/lost", Verdict.FAIL, "1 candidate event lost", critical=True)
    world.write(tick(world.rollout, world.sight(results=(lost,), elapsed=1.0)))
    assert world.rollout.state is State.ROLLING_BACK
    assert "1 candidate event lost" in world.rollout.reason


def test_a_rollback_ends_when_publishers_have_confirmed_and_no_candidate_event_comes() -> None:
    world = World()
    world.to(State.ANALYSING)
    world.ask(Verb.ROLLBACK, reason="smells")
    world.tick(100.0)
    assert world.rollout.state is State.ROLLING_BACK
    world.confirm()
    world.tick(1.0)
    assert world.rollout.state is State.VERIFYING
    world.candidate_ns = world.now + 3 * NANOS
    world.tick(4.0, recovered=Verdict.PASS)
    assert world.rollout.state is State.VERIFYING
    world.tick(4.0, recovered=Verdict.PASS)
    assert world.rollout.state is State.ROLLED_BACK
    assert "smells" in world.rollout.reason


def test_a_rollback_without_recovery_ends_and_says_so() -> None:
    world = World()
    world.to(State.ANALYSING)
    world.ask(Verb.ROLLBACK)
    world.confirm()
    world.tick(1.0)
    for _ in range(40):
        world.tick(1.0, recovered=Verdict.FAIL)
    assert world.rollout.state is State.ROLLED_BACK
    assert "have not recovered" in world.rollout.reason


def test_held_and_down_time_is_no_soak() -> None:
    world = World()
    world.to(State.ANALYSING)
    world.tick(3.0, Verdict.PASS)
    assert world.rollout.soak == 3.0
    world.now += 3600 * NANOS
    world.write(recover(world.rollout, world.sight()))
    assert (world.rollout.state, world.rollout.hold) == (State.HELD, Hold.RECOVERING)
    world.agents["publisher-2"] = 0  # has not answered
    world.tick(3600.0, Verdict.PASS)
    assert world.rollout.state is State.HELD
    world.confirm()
    world.tick(1.0)
    assert (world.rollout.state, world.rollout.soak) == (State.PROPAGATING, 0.0)
    world.to(State.ANALYSING)
    world.tick(1.0, Verdict.PASS)
    assert world.rollout.state is State.ANALYSING


def test_a_publisher_that_does_not_confirm_holds_the_rollout() -> None:
    world = World()
    world.to(State.PROPAGATING)
    world.agents["publisher-1"] = world.rollout.generation
    world.tick(6.0)
    assert (world.rollout.state, world.rollout.hold) == (State.HELD, Hold.PROPAGATION)
    assert "publisher-2" in world.rollout.reason


def test_a_pass_without_all_publishers_is_none() -> None:
    world = World()
    world.to(State.ANALYSING)
    del world.agents["publisher-2"]
    for _ in range(10):
        world.tick(2.0, Verdict.PASS)
    assert (world.rollout.verdict, world.rollout.soak) == (Verdict.NO_DATA, 0.0)


def test_every_illegal_verb_is_refused_with_the_legal_ones_named() -> None:
    for state in (State.DRAFT, State.STARTING, State.PROPAGATING, State.ANALYSING, State.GATED, State.COMPLETED):
        world = World()
        if state is not State.DRAFT:
            world.to(state)
        allowed = legal(world.rollout)
        for verb in Verb:
            if verb in allowed:
                continue
            with pytest.raises(IllegalVerbError) as error:
                world.ask(verb)
            assert error.value.legal == allowed
            assert all(each.value in str(error.value) for each in allowed)
            assert state.value in str(error.value)


def test_of_two_operators_who_saw_the_same_version_one_is_told() -> None:
    world = World()
    world.to(State.ANALYSING)
    seen = world.rollout.version
    world.ask(Verb.PAUSE, expected_version=seen)
    with pytest.raises(StaleVersionError, match=f"version {seen}, now {seen + 2}"):
        world.ask(Verb.ADVANCE, expected_version=seen)


def test_looks_do_not_outdate_what_an_operator_saw() -> None:
    world = World()
    world.to(State.ANALYSING)
    seen = world.rollout.version
    world.tick(0.1, Verdict.INCONCLUSIVE)
    world.ask(Verb.PAUSE, expected_version=seen)
    assert world.rollout.state is State.HELD


def test_a_plan_comes_back_from_its_data() -> None:
    assert plan_of(plan_data(PLAN)) == PLAN


def test_a_history_must_begin_with_its_creation() -> None:
    with pytest.raises(HistoryError):
        fold([])
    with pytest.raises(HistoryError):
        fold(World().entries * 2)


class Machine(RuleBasedStateMachine):
    """Anything may happen, the controller may be killed at any time, publishers may come, go and forget."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.grounds = False

    def _watch(self, act: Any, *, may_grow: bool = False) -> None:
        before = self.world.rollout
        act()
        after = self.world.rollout
        if after.exposure > before.exposure and not may_grow:
            first = before.state is State.STARTING
            judged = any(
                entry.kind == "look" and entry.data["verdict"] == "PASS"
                for entry in self.world.entries[before.entries :]
            )
            assert first or judged, (before, after)

    @rule(verb=st.sampled_from(Verb), stale=st.booleans())
    def ask(self, verb: Verb, stale: bool) -> None:
        rollout = self.world.rollout
        version = rollout.version + 1 if stale else 0
        overriding = verb in {Verb.ADVANCE, Verb.APPROVE}
        if stale:
            with pytest.raises(StaleVersionError):
                self.world.ask(verb, expected_version=version)
        elif verb in legal(rollout):
            self._watch(lambda: self.world.ask(verb), may_grow=overriding)
        else:
            with pytest.raises(IllegalVerbError) as refusal:
                self.world.ask(verb)
            assert refusal.value.legal == legal(rollout)

    @rule(seconds=st.sampled_from([0.1, 2.0, 7.0, 50.0]), verdict=st.none() | st.sampled_from(Verdict))
    def tick(self, seconds: float, verdict: Verdict | None) -> None:
        self._watch(lambda: self.world.tick(seconds, verdict))

    @rule(name=st.sampled_from(AGENTS))
    def confirm(self, name: str) -> None:
        self.world.agents[name] = self.world.rollout.generation
        self.world.served[name] = self.world.rollout.exposure

    @rule(name=st.sampled_from(AGENTS))
    def lose(self, name: str) -> None:
        self.world.agents.pop(name, None)

    @rule(name=st.sampled_from(AGENTS))
    def restart_publisher(self, name: str) -> None:
        self.world.agents[name] = 0
        self.world.served[name] = 0

    @rule()
    def kill_controller(self) -> None:
        self.world.rollout = fold(self.world.entries)
        self._watch(lambda: self.world.write(recover(self.world.rollout, self.world.sight())))

    @invariant()
    def fold_is_state(self) -> None:
        if hasattr(self, "world"):
            assert fold(self.world.entries) == self.world.rollout

    @invariant()
    def exposure_fits_the_state(self) -> None:
        if not hasattr(self, "world"):
            return
        rollout: Rollout = self.world.rollout
        if rollout.state in RETURNING | {State.DRAFT, State.STARTING, State.ROLLED_BACK, State.CANCELLED}:
            assert rollout.exposure == 0
        if rollout.state in {State.BAKING, State.COMPLETED}:
            assert rollout.exposure == 10_000
        assert (rollout.state is State.HELD) == (rollout.hold is not None) == (rollout.resume is not None)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
