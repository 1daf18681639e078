"""What a rollout is: its plan, its states and the words for them.

Owns the vocabulary of the package, and nothing that decides. The names of states, holds, verdicts and verbs are those
of `lanecast.v1.rollout` without their prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lanecast.core.bucketing import BUCKETS

NANOS = 1_000_000_000


class State(Enum):
    """Where a rollout stands."""

    DRAFT = "DRAFT"
    STARTING = "STARTING"
    PROPAGATING = "PROPAGATING"
    SETTLING = "SETTLING"
    ANALYSING = "ANALYSING"
    GATED = "GATED"
    BAKING = "BAKING"
    COMPLETED = "COMPLETED"
    HELD = "HELD"
    ROLLING_BACK = "ROLLING_BACK"
    VERIFYING = "VERIFYING"
    ROLLED_BACK = "ROLLED_BACK"
    CANCELLED = "CANCELLED"


OVER = frozenset({State.COMPLETED, State.ROLLED_BACK, State.CANCELLED})
"""States that nothing but `retry` leaves."""
IDLE = OVER | {State.DRAFT}
"""States in which another rollout may be started."""
RETURNING = frozenset({State.ROLLING_BACK, State.VERIFYING})
"""On the way back, or there."""


class Hold(Enum):
    """Why a rollout is held."""

    MANUAL = "MANUAL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_DATA = "NO_DATA"
    PROPAGATION = "PROPAGATION"
    RECOVERING = "RECOVERING"


class Verdict(Enum):
    """What a look at the samples says. Only PASS advances."""

    PASS = "PASS"  # noqa: S105 - a word, no secret
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_DATA = "NO_DATA"
    ERROR = "ERROR"


class Verb(Enum):
    """What operators can ask for."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    APPROVE = "approve"
    ADVANCE = "advance"
    ROLLBACK = "rollback"
    CANCEL = "cancel"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the exposure."""

    percent: int
    min_seconds: float = 60.0
    """Least time of analysis."""
    max_seconds: float = 3600.0
    """Most time of analysis before the rollout is held."""
    gated: bool = False
    """True: a person approves after the verdict."""


QUANTILES = (0.95, 0.99)
"""Quantiles that are compared with the control unless a plan names others."""
DEFAULT_STAGES = tuple(Stage(percent) for percent in (10, 25, 50, 75, 100))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout is to do. Every time is in seconds."""

    baseline: str
    candidate: str
    stages: tuple[Stage, ...] = DEFAULT_STAGES
    max_latency_ratio: float = 1.1
    """Largest tolerated ratio of candidate to control."""
    max_interference_ratio: float = 1.5
    """Largest tolerated ratio of the control now to the control before."""
    benefit_ratio: float = 0.0
    """Ratio of p95 that the candidate must be proved to stay under before it gets 50 %. Zero: nothing to prove."""
    objective: float = 0.0
    """Share of deliveries within the candidate's limits. Zero: the objective of each lane."""
    pinned: tuple[str, ...] = ()
    settle_seconds: float = 10.0
    """How long after a change figures are not judged for advancing."""
    look_seconds: float = 5.0
    bake_seconds: float = 300.0
    propagation_seconds: float = 30.0
    """How long publishers have to confirm a generation."""
    verify_seconds: float = 10.0
    """How long after the way back no candidate event may be seen."""
    quantiles: tuple[float, ...] = QUANTILES
    """Quantiles of latency that are compared with the control."""

    def exposure(self, stage: int) -> int:
        """Return the exposure of a stage in hundredths of a percent."""
        return self.stages[stage].percent * BUCKETS // 100

    def problems(self) -> list[str]:
        """Return sentences that say why the plan cannot work."""
        found: list[str] = []
        if self.baseline == self.candidate:
            found.append(f"baseline and candidate are both {self.baseline!r}: name two policies")
        percents = [stage.percent for stage in self.stages]
        if not percents or percents != sorted(set(percents)) or percents[0] < 1 or percents[-1] != 100:
            found.append(f"the stages are {percents}: give growing percentages, the last of them 100")
        found += [
            f"the {stage.percent} % stage lasts {stage.min_seconds:g} s to {stage.max_seconds:g} s: give a least time"
            " that is not longer than the most"
            for stage in self.stages
            if not 0 <= stage.min_seconds <= stage.max_seconds or stage.max_seconds <= 0
        ]
        for name, value in (("ratio", self.max_latency_ratio), ("interference ratio", self.max_interference_ratio)):
            if not 1 < value <= 100:
                found.append(f"the tolerated {name} is {value:g}: give more than 1 and at most 100")
        if not 0 <= self.benefit_ratio < 1:
            found.append(f"the ratio to prove is {self.benefit_ratio:g}: give less than 1, or 0 for nothing to prove")
        if not 0 <= self.objective < 1:
            found.append(f"the objective is {self.objective:g}: give a share below 1, or 0 for that of each lane")
        if not self.quantiles or len(self.quantiles) > 4 or not all(0.5 <= q <= 0.999 for q in self.quantiles):
            found.append(f"the quantiles are {list(self.quantiles)}: give one to four, each from 0.5 to 0.999")
        times = (self.settle_seconds, self.bake_seconds, self.verify_seconds)
        if min(times) < 0 or self.look_seconds <= 0 or self.propagation_seconds <= 0:
            found.append("a time of the plan is negative: give seconds, more than 0 for looks and propagation")
        return found


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout as its history makes it. Immutable: `history.apply` returns the next one."""

    id: str
    plan: Plan
    state: State = State.DRAFT
    hold: Hold | None = None
    resume: State | None = None
    """Where a held rollout goes on."""
    stage: int = 0
    exposure: int = 0
    """Hundredths of a percent of all channels."""
    generation: int = 0
    agents: tuple[str, ...] = ()
    """Publishers that must confirm each generation."""
    lanes: tuple[str, ...] = ()
    """Lanes that are judged: those with enough channels before the first exposure."""
    verdict: Verdict | None = None
    reason: str = ""
    soak: float = 0.0
    """Seconds of analysis in this stage, or of baking; time that was held or down does not count."""
    streaks: dict[str, int] = field(default_factory=dict)
    """Rules that failed in the newest looks, with how often in a row."""
    version: int = 0
    """Grows with every change but a look."""
    entries: int = 0
    """Entries of the history so far."""
    create_ns: int = 0
    update_ns: int = 0
    entered_ns: int = 0
    """When it came into its state."""
    attempt: int = 1
    results: tuple[dict[str, Any], ...] = ()
    """What each rule said at the newest look."""

    @property
    def salt(self) -> str:
        """Salt of the bucketing: another one for each rollout, so that not always the same channels go first."""
        return self.id

    @property
    def exposed(self) -> bool:
        """Whether channels are, or may still be, on the candidate."""
        return self.exposure > 0 or self.state is State.ROLLING_BACK


class IllegalVerbError(Exception):
    """The state does not allow the verb; the text names those it allows."""

    def __init__(self, verb: Verb, rollout: Rollout, legal: tuple[Verb, ...]) -> None:
        words = ", ".join(each.value for each in legal) or "none"
        where = rollout.state.value + (f" ({rollout.hold.value})" if rollout.hold else "")
        super().__init__(f"a rollout that is {where} cannot {verb.value}: legal now are {words}")
        self.legal = legal


class StaleVersionError(Exception):
    """Another change came first."""

    def __init__(self, seen: int, present: int) -> None:
        super().__init__(
            f"the rollout has changed since you saw it (version {seen}, now {present}): look at it again, then decide"
        )
        self.present = present
