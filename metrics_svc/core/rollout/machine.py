"""What a rollout does next: by itself, and when somebody asks.

Owns the state machine. Every function takes a rollout and what can be seen, and returns the entries to be written; the
caller writes them, then applies them. Pure; called by the controller of metrics_svc and by the simulator.

Exposure grows in one place, `_to_stage`, which is reached from a verdict PASS, an approval after one, an operator's
override, or the start of the first stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from metrics_svc.core.rollout.history import LOOK, MOVED, NOTED, VERB, Entry
from metrics_svc.core.rollout.model import (
    IDLE,
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
from metrics_svc.core.rollout.results import RuleResult, conclude

UNRECOVERED_ROUNDS = 6
"""After this many times `verify_seconds` a rollback ends although figures have not recovered, and says so."""


@dataclass(frozen=True, slots=True)
class Before:
    """What the channels show before any exposure."""

    enough: bool
    text: str
    lanes: tuple[str, ...]
    """Lanes with enough channels to be judged."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be seen at a moment."""

    now_ns: int
    next_generation: int
    agents: Mapping[str, int]
    """Publishers that are connected, with the generation each has applied."""
    results: tuple[RuleResult, ...] | None = None
    """What the rules say, where it is time to look."""
    elapsed: float = 0.0
    """Seconds since the look before, in this state and this process."""
    before: Before | None = None
    candidate_ns: int = 0
    """When the last candidate event was delivered, as far as is known."""
    recovered: Verdict | None = None
    """Whether figures are again as they were before the rollout."""

    def missing(self, rollout: Rollout) -> list[str]:
        """Return the publishers that have not confirmed the present generation."""
        return [name for name in rollout.agents if self.agents.get(name, -1) < rollout.generation]


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for a verb, why, and on what ground."""

    actor: str
    reason: str = ""
    request_id: str = ""
    expected_version: int = 0
    """Zero: whatever it is."""


_IN_STAGE = (Verb.PAUSE, Verb.ADVANCE, Verb.ROLLBACK)
_LEGAL: dict[State, tuple[Verb, ...]] = {
    State.DRAFT: (Verb.START, Verb.CANCEL),
    State.STARTING: (Verb.PAUSE, Verb.CANCEL),
    State.PROPAGATING: _IN_STAGE,
    State.SETTLING: _IN_STAGE,
    State.ANALYSING: _IN_STAGE,
    State.GATED: (Verb.APPROVE, Verb.PAUSE, Verb.ROLLBACK),
    State.BAKING: _IN_STAGE,
    State.COMPLETED: (),
    State.ROLLING_BACK: (Verb.ADVANCE,),
    State.VERIFYING: (),
    State.ROLLED_BACK: (Verb.RETRY,),
    State.CANCELLED: (Verb.RETRY,),
}


def legal(rollout: Rollout) -> tuple[Verb, ...]:
    """Return the verbs that the state allows."""
    if rollout.state is not State.HELD:
        return _LEGAL[rollout.state]
    if not rollout.exposure:
        return (Verb.RESUME, Verb.CANCEL)
    if rollout.hold is Hold.RECOVERING:
        return (Verb.RESUME, Verb.ROLLBACK)
    return (Verb.RESUME, Verb.ADVANCE, Verb.ROLLBACK)


def ask(rollout: Rollout, verb: Verb, asked: Asked, sight: Sight) -> list[Entry]:
    """Return what a verb leads to.

    Raises:
        StaleVersionError: the rollout has changed since the caller saw it.
        IllegalVerbError: the state does not allow the verb.
    """
    if asked.expected_version and asked.expected_version != rollout.version:
        raise StaleVersionError(asked.expected_version, rollout.version)
    allowed = legal(rollout)
    if verb not in allowed:
        raise IllegalVerbError(verb, rollout, allowed)
    data = {"verb": verb.value, "state": rollout.state.value, "override": verb is Verb.ADVANCE}
    entry = Entry(rollout.id, VERB, sight.now_ns, data, asked.actor, asked.reason, asked.request_id)
    reason = asked.reason or f"{asked.actor} asked to {verb.value}"
    return [entry, _asked_move(rollout, verb, reason, sight)]


def _asked_move(rollout: Rollout, verb: Verb, reason: str, sight: Sight) -> Entry:
    moves: dict[Verb, Callable[[], Entry]] = {
        Verb.START: lambda: _to_start(rollout, reason, sight, retry=False),
        Verb.RETRY: lambda: _to_start(rollout, reason, sight, retry=True),
        Verb.PAUSE: lambda: _hold(rollout, Hold.MANUAL, reason, sight),
        Verb.RESUME: lambda: _to_resume(rollout, reason, sight, agents=tuple(sorted(sight.agents))),
        Verb.APPROVE: lambda: _onward(rollout, reason, sight),
        Verb.ADVANCE: lambda: _advance(rollout, reason, sight),
        Verb.ROLLBACK: lambda: roll_back(rollout, reason, sight),
        Verb.CANCEL: lambda: _move(rollout, State.CANCELLED, reason, sight),
    }
    return moves[verb]()


def _advance(rollout: Rollout, reason: str, sight: Sight) -> Entry:
    """Go on without a verdict; while rolling back, without the publishers that are gone."""
    if rollout.state is State.ROLLING_BACK:
        return _move(rollout, State.VERIFYING, reason, sight, agents=tuple(sorted(sight.agents)))
    if State.BAKING in {rollout.state, rollout.resume}:
        return _move(rollout, State.COMPLETED, reason, sight)
    return _onward(rollout, reason, sight)


def tick(rollout: Rollout, sight: Sight) -> list[Entry]:
    """Return what a rollout does by itself at a moment; empty where it waits."""
    if rollout.state in IDLE:
        return []
    if rollout.state in RETURNING:
        return _returning(rollout, sight)
    look: list[Entry] = []
    if sight.results is not None and rollout.exposure:
        entry = _look(rollout, sight)
        look = [entry]
        if entry.data["verdict"] == Verdict.FAIL.value:
            return [entry, roll_back(rollout, entry.reason, sight)]
    step = _STEPS.get(rollout.state)
    move = step(rollout, sight, look[0] if look else None) if step is not None else None
    return look if move is None else [*look, move]


def recover(rollout: Rollout, sight: Sight) -> list[Entry]:
    """Return what the first look at a rollout after a restart of the controller leads to.

    What was under way is held until all publishers have answered. A rollback goes on: it can only lower exposure.
    """
    if rollout.state in IDLE or rollout.state in RETURNING or rollout.state is State.HELD:
        return []
    return [_hold(rollout, Hold.RECOVERING, "metrics_svc was restarted: waiting for all publishers", sight)]


def roll_back(rollout: Rollout, reason: str, sight: Sight) -> Entry:
    """Return the entry that takes every channel back to the baseline."""
    return _move(
        rollout, State.ROLLING_BACK, reason, sight, exposure=0, generation=sight.next_generation,
        agents=tuple(sorted({*rollout.agents, *sight.agents})),
    )  # fmt: skip


# By itself


def _look(rollout: Rollout, sight: Sight) -> Entry:
    results = sight.results or ()
    conclusion = conclude(results, rollout.streaks)
    verdict, reason = conclusion.verdict, conclusion.reason
    absent = sight.missing(rollout)
    if absent and verdict is Verdict.PASS:
        verdict, reason = Verdict.NO_DATA, f"{', '.join(absent)} is not connected with the present generation"
    soaking = rollout.state in {State.ANALYSING, State.BAKING} and not absent
    data = {
        "verdict": verdict.value,
        "stage": rollout.stage,
        "soak": rollout.soak + (sight.elapsed if soaking else 0.0),
        "streaks": conclusion.streaks,
        "results": [result.data() for result in results],
    }
    return Entry(rollout.id, LOOK, sight.now_ns, data, reason=reason)


def _starting(rollout: Rollout, sight: Sight, look: Entry | None) -> Entry | None:
    del look
    waited = _waited(rollout, sight)
    absent = sight.missing(rollout)
    if absent:
        return _propagation(rollout, sight, absent)
    before = sight.before
    if before is None or waited < rollout.plan.settle_seconds:
        return None
    if before.enough:
        return _to_stage(rollout, 0, before.text, sight, lanes=before.lanes)
    if waited > rollout.plan.stages[0].max_seconds:
        return _hold(rollout, Hold.NO_DATA, before.text, sight)
    return None


def _propagating(rollout: Rollout, sight: Sight, look: Entry | None) -> Entry | None:
    del look
    absent = sight.missing(rollout)
    if absent:
        return _propagation(rollout, sight, absent)
    return _move(rollout, State.SETTLING, "all publishers have confirmed", sight)


def _settling(rollout: Rollout, sight: Sight, look: Entry | None) -> Entry | None:
    del look
    if _waited(rollout, sight) < rollout.plan.settle_seconds:
        return None
    text = f"judging {rollout.plan.stages[rollout.stage].percent} %"
    return _move(rollout, State.ANALYSING, text, sight, fresh=True)


def _analysing(rollout: Rollout, sight: Sight, look: Entry | None) -> Entry | None:
    if look is None:
        return None
    stage, soak = rollout.plan.stages[rollout.stage], look.data["soak"]
    verdict = Verdict(look.data["verdict"])
    if verdict is Verdict.PASS and soak >= stage.min_seconds:
        if stage.gated:
            return _move(rollout, State.GATED, f"{look.reason}; waiting for approval", sight)
        return _onward(rollout, look.reason, sight)
    if soak >= stage.max_seconds:
        hold = Hold.NO_DATA if verdict in {Verdict.NO_DATA, Verdict.ERROR} else Hold.INCONCLUSIVE
        return _hold(rollout, hold, f"not decided within {stage.max_seconds:g} s: {look.reason}", sight)
    return None


def _baking(rollout: Rollout, sight: Sight, look: Entry | None) -> Entry | None:
    if look is None:
        return None
    soak, plan = look.data["soak"], rollout.plan
    verdict = Verdict(look.data["verdict"])
    if verdict is Verdict.PASS and soak >= plan.bake_seconds:
        return _move(rollout, State.COMPLETED, f"all channels are on {plan.candidate}: {look.reason}", sight)
    if soak >= plan.bake_seconds + plan.stages[-1].max_seconds:
        return _hold(rollout, Hold.INCONCLUSIVE, f"baking does not end: {look.reason}", sight)
    return None


def _held(rollout: Rollout, sight: Sight, look: Entry | None) -> Entry | None:
    del look
    if rollout.hold is not Hold.RECOVERING or sight.missing(rollout):
        return None
    return _to_resume(rollout, "all publishers have answered", sight)


_STEPS = {
    State.STARTING: _starting,
    State.PROPAGATING: _propagating,
    State.SETTLING: _settling,
    State.ANALYSING: _analysing,
    State.BAKING: _baking,
    State.HELD: _held,
}


def _returning(rollout: Rollout, sight: Sight) -> list[Entry]:
    absent = sight.missing(rollout)
    if rollout.state is State.ROLLING_BACK:
        if absent:
            return []  # each gets the generation as soon as it comes back
        return [_move(rollout, State.VERIFYING, f"all publishers are back on the baseline; {rollout.reason}", sight)]
    waited, least = _waited(rollout, sight), rollout.plan.verify_seconds
    quiet = (sight.now_ns - sight.candidate_ns) / NANOS >= least
    if waited < least or not quiet:
        return []
    patience = waited >= least * UNRECOVERED_ROUNDS
    if sight.recovered is not Verdict.PASS and not patience:
        return []
    recovered = sight.recovered is Verdict.PASS
    note = {"recovered": recovered, "candidate_ns": sight.candidate_ns}
    text = rollout.reason if recovered else f"{rollout.reason}; figures have not recovered"
    return [
        Entry(rollout.id, NOTED, sight.now_ns, note, reason="rollback verified"),
        _move(rollout, State.ROLLED_BACK, text, sight),
    ]


def _propagation(rollout: Rollout, sight: Sight, absent: list[str]) -> Entry | None:
    seconds = rollout.plan.propagation_seconds
    if _waited(rollout, sight) <= seconds:
        return None
    text = f"{', '.join(absent)} did not confirm generation {rollout.generation} within {seconds:g} s"
    return _hold(rollout, Hold.PROPAGATION, text, sight)


# Moves


def _to_start(rollout: Rollout, reason: str, sight: Sight, *, retry: bool) -> Entry:
    return _move(
        rollout, State.STARTING, reason, sight, stage=0, exposure=0, generation=sight.next_generation,
        agents=tuple(sorted(sight.agents)), lanes=(), attempt=rollout.attempt + retry, fresh=True,
    )  # fmt: skip


def _to_stage(rollout: Rollout, stage: int, reason: str, sight: Sight, lanes: tuple[str, ...] | None = None) -> Entry:
    return _move(
        rollout, State.PROPAGATING, reason, sight, stage=stage, exposure=rollout.plan.exposure(stage),
        generation=sight.next_generation, agents=tuple(sorted({*rollout.agents, *sight.agents})), fresh=True,
        **({} if lanes is None else {"lanes": lanes}),
    )  # fmt: skip


def _onward(rollout: Rollout, reason: str, sight: Sight) -> Entry:
    if rollout.stage + 1 < len(rollout.plan.stages):
        return _to_stage(rollout, rollout.stage + 1, reason, sight)
    return _move(rollout, State.BAKING, reason, sight, fresh=True)


def _to_resume(rollout: Rollout, reason: str, sight: Sight, agents: tuple[str, ...] | None = None) -> Entry:
    goal = rollout.resume or State.PROPAGATING
    if goal in {State.SETTLING, State.ANALYSING}:
        goal = State.PROPAGATING  # which confirms the publishers, settles, and begins the analysis again
    known = rollout.agents if agents is None else agents
    return _move(rollout, goal, reason, sight, fresh=True, agents=known)


def _hold(rollout: Rollout, hold: Hold, reason: str, sight: Sight) -> Entry:
    resume = rollout.resume if rollout.state is State.HELD else rollout.state
    assert resume is not None
    return _move(rollout, State.HELD, reason, sight, hold=hold.value, resume=resume.value)


def _move(
    rollout: Rollout, state: State, reason: str, sight: Sight, *, fresh: bool = False, **changes: Any
) -> Entry:  # fmt: skip
    data = {
        "state": state.value,
        "from": rollout.state.value,
        "hold": None,
        "resume": None,
        "stage": rollout.stage,
        "exposure": rollout.exposure,
        "generation": rollout.generation,
        "agents": list(rollout.agents),
        "lanes": list(rollout.lanes),
        "attempt": rollout.attempt,
        "soak": 0.0 if fresh else rollout.soak,
        "fresh": fresh,
    }
    data.update({name: list(value) if isinstance(value, tuple) else value for name, value in changes.items()})
    return Entry(rollout.id, MOVED, sight.now_ns, data, reason=reason)


def _waited(rollout: Rollout, sight: Sight) -> float:
    return (sight.now_ns - rollout.entered_ns) / NANOS
