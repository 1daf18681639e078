"""Every verb in every state, and in every kind of hold: it is carried out, or refused with those that are legal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rollout_world import World

from metrics_svc.core.rollout.machine import legal, recover
from metrics_svc.core.rollout.model import Hold, IllegalVerbError, State, Verb, Verdict


def _hold(hold: Hold) -> World:
    world = World()
    world.to(State.PROPAGATING if hold is Hold.PROPAGATION else State.ANALYSING)
    if hold is Hold.MANUAL:
        world.ask(Verb.PAUSE)
    elif hold is Hold.PROPAGATION:
        world.tick(10.0)
    elif hold is Hold.RECOVERING:
        world.write(recover(world.rollout, world.sight()))
    else:
        said = Verdict.INCONCLUSIVE if hold is Hold.INCONCLUSIVE else Verdict.NO_DATA
        for _ in range(25):
            world.tick(2.0, said)
    assert world.rollout.hold is hold
    return world


def _plain(state: State) -> World:
    world = World()
    if state is State.DRAFT:
        return world
    if state is State.CANCELLED:
        world.ask(Verb.CANCEL)
    elif state in {State.ROLLING_BACK, State.VERIFYING, State.ROLLED_BACK}:
        world.to(State.ANALYSING)
        world.ask(Verb.ROLLBACK)
        if state is not State.ROLLING_BACK:
            world.confirm()
            world.tick(1.0)
        if state is State.ROLLED_BACK:
            world.tick(10.0, recovered=Verdict.PASS)
    else:
        world.to(state)
    return world


def _held_before_exposure() -> World:
    world = World()
    world.to(State.STARTING)
    world.ask(Verb.PAUSE)
    return world


CASES: dict[str, tuple[Callable[[], World], str]] = {
    "DRAFT": (lambda: _plain(State.DRAFT), "start cancel"),
    "STARTING": (lambda: _plain(State.STARTING), "pause cancel"),
    "PROPAGATING": (lambda: _plain(State.PROPAGATING), "pause advance rollback"),
    "SETTLING": (lambda: _plain(State.SETTLING), "pause advance rollback"),
    "ANALYSING": (lambda: _plain(State.ANALYSING), "pause advance rollback"),
    "GATED": (lambda: _plain(State.GATED), "approve pause rollback"),
    "BAKING": (lambda: _plain(State.BAKING), "pause advance rollback"),
    "COMPLETED": (lambda: _plain(State.COMPLETED), ""),
    "HELD before exposure": (_held_before_exposure, "resume cancel"),
    "HELD (MANUAL)": (lambda: _hold(Hold.MANUAL), "resume advance rollback"),
    "HELD (INCONCLUSIVE)": (lambda: _hold(Hold.INCONCLUSIVE), "resume advance rollback"),
    "HELD (NO_DATA)": (lambda: _hold(Hold.NO_DATA), "resume advance rollback"),
    "HELD (PROPAGATION)": (lambda: _hold(Hold.PROPAGATION), "resume advance rollback"),
    "HELD (RECOVERING)": (lambda: _hold(Hold.RECOVERING), "resume rollback"),
    "ROLLING_BACK": (lambda: _plain(State.ROLLING_BACK), "advance"),
    "VERIFYING": (lambda: _plain(State.VERIFYING), ""),
    "ROLLED_BACK": (lambda: _plain(State.ROLLED_BACK), "retry"),
    "CANCELLED": (lambda: _plain(State.CANCELLED), "retry"),
}


def test_every_state_and_every_hold_is_driven_into() -> None:
    reached = [make().rollout for make, _ in CASES.values()]
    assert {rollout.state for rollout in reached} == set(State)
    assert {rollout.hold for rollout in reached} == {None, *Hold}


@pytest.mark.parametrize("verb", Verb, ids=lambda verb: verb.value)
@pytest.mark.parametrize("case", CASES)
def test_a_verb_is_carried_out_or_refused_with_the_legal_ones_named(case: str, verb: Verb) -> None:
    make, words = CASES[case]
    world = make()
    allowed = tuple(Verb(word) for word in words.split())
    before, entries = world.rollout, list(world.entries)
    assert set(legal(before)) == set(allowed)
    if verb in allowed:
        world.ask(verb)
        assert world.rollout.state is not before.state or world.rollout.generation > before.generation
        assert world.rollout.version > before.version
        asked = world.entries[len(entries)]
        assert (asked.actor, asked.data["verb"], asked.data["state"]) == ("ann", verb.value, before.state.value)
        return
    with pytest.raises(IllegalVerbError) as refusal:
        world.ask(verb)
    said = str(refusal.value)
    assert said.startswith(f"a rollout that is {before.state.value}")
    assert said.endswith(f"cannot {verb.value}: legal now are {', '.join(v.value for v in legal(before)) or 'none'}")
    assert (world.rollout, world.entries) == (before, entries)
