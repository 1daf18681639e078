"""The history of a rollout, and the rollout as its fold.

Owns the kinds of entries and what each changes. An entry is plain data that the store keeps as JSON; nothing is ever
changed in one. Called by the machine's shell for every entry, at once and again at the next start.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from metrics_svc.core.rollout.model import QUANTILES, Hold, Plan, Rollout, Stage, State, Verdict

CREATED, VERB, MOVED, LOOK, NOTED = "created", "verb", "moved", "look", "noted"
"""Kinds: the plan; what a person asked for; a change of state; a verdict; something worth keeping."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history."""

    rollout: str
    kind: str
    time_ns: int
    data: dict[str, Any] = field(default_factory=dict)
    actor: str = "lanecast"
    """Who did it: a person, or `lanecast` where the rollout moved by itself."""
    reason: str = ""
    request_id: str = ""


class HistoryError(Exception):
    """The history cannot be what this package wrote."""


def fold(entries: Iterable[Entry]) -> Rollout:
    """Return the rollout that a whole history makes.

    Raises:
        HistoryError: it does not begin with its creation.
    """
    rollout: Rollout | None = None
    for entry in entries:
        rollout = apply(rollout, entry)
    if rollout is None:
        raise HistoryError("the history is empty")
    return rollout


def apply(rollout: Rollout | None, entry: Entry) -> Rollout:
    """Return the rollout after one more entry.

    Raises:
        HistoryError: the entry cannot stand here.
    """
    if entry.kind == CREATED:
        if rollout is not None:
            raise HistoryError(f"the rollout {entry.rollout} was created twice")
        rollout = Rollout(entry.rollout, plan_of(entry.data["plan"]), create_ns=entry.time_ns)
        rollout = replace(rollout, reason=entry.reason or "created")
        return replace(rollout, version=1, entries=1, update_ns=entry.time_ns, entered_ns=entry.time_ns)
    if rollout is None or rollout.id != entry.rollout:
        raise HistoryError(f"the history of {entry.rollout} does not begin with its creation")
    change = _CHANGES.get(entry.kind)
    if change is None:
        raise HistoryError(f"the history has an entry of the unknown kind {entry.kind!r}")
    changed = change(rollout, entry)
    version = rollout.version + (entry.kind in {VERB, MOVED})
    return replace(changed, version=version, entries=rollout.entries + 1, update_ns=entry.time_ns)


def _verb(rollout: Rollout, entry: Entry) -> Rollout:
    return replace(rollout, reason=entry.reason or rollout.reason)


def _moved(rollout: Rollout, entry: Entry) -> Rollout:
    data = entry.data
    hold, resume = data.get("hold"), data.get("resume")
    return replace(
        rollout,
        state=State(data["state"]),
        hold=Hold(hold) if hold else None,
        resume=State(resume) if resume else None,
        stage=data["stage"],
        exposure=data["exposure"],
        generation=data["generation"],
        agents=tuple(data["agents"]),
        lanes=tuple(data["lanes"]),
        attempt=data["attempt"],
        soak=data["soak"],
        streaks={} if data["fresh"] else rollout.streaks,
        verdict=None if data["fresh"] else rollout.verdict,
        results=() if data["fresh"] else rollout.results,
        reason=entry.reason,
        entered_ns=entry.time_ns,
    )


def _look(rollout: Rollout, entry: Entry) -> Rollout:
    data = entry.data
    return replace(
        rollout,
        verdict=Verdict(data["verdict"]),
        soak=data["soak"],
        streaks=dict(data["streaks"]),
        results=tuple(data["results"]),
        reason=entry.reason,
    )


def _noted(rollout: Rollout, entry: Entry) -> Rollout:
    del entry
    return rollout


_CHANGES = {VERB: _verb, MOVED: _moved, LOOK: _look, NOTED: _noted}


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data."""
    data = dataclasses.asdict(plan)
    return {**data, **{name: list(data[name]) for name in ("stages", "pinned", "quantiles")}}


def plan_of(data: dict[str, Any]) -> Plan:
    """Return the plan that `plan_data` made data of."""
    stages = tuple(Stage(**stage) for stage in data["stages"])
    quantiles = tuple(data.get("quantiles", QUANTILES))  # histories of the first format have none
    return Plan(**{**data, "stages": stages, "pinned": tuple(data["pinned"]), "quantiles": quantiles})
