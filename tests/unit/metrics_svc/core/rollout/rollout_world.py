"""A rollout with two publishers, and a hand on all that can be seen of them. Used by the tests of the machine."""

from __future__ import annotations

from typing import Any

from metrics_svc.core.rollout.history import CREATED, Entry, apply, fold, plan_data
from metrics_svc.core.rollout.machine import Asked, Before, Sight, ask, tick
from metrics_svc.core.rollout.model import NANOS, Plan, Stage, State, Verb, Verdict
from metrics_svc.core.rollout.results import RuleResult

PLAN = Plan(
    "legacy-500ms", "default", (Stage(10, 4, 40), Stage(50, 4, 40, gated=True), Stage(100, 4, 40)), settle_seconds=2,
    look_seconds=2, bake_seconds=6, propagation_seconds=5, verify_seconds=4,
)  # fmt: skip
AGENTS = ("publisher-1", "publisher-2")


class World:
    """A rollout with two publishers, and a hand on all that can be seen of them."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.now = NANOS
        self.entries: list[Entry] = [Entry("r1", CREATED, self.now, {"plan": plan_data(plan)})]
        self.rollout = fold(self.entries)
        self.agents = dict.fromkeys(AGENTS, 0)
        self.served = dict.fromkeys(AGENTS, 0)
        """Exposure that each publisher serves."""
        self.assignments: dict[int, int] = {0: 0}
        self.candidate_ns = 0

    def sight(self, **seen: Any) -> Sight:
        return Sight(
            self.now, max([0, *self.assignments]) + 1, dict(self.agents), before=Before(True, "enough", ("HIGH",)),
            candidate_ns=self.candidate_ns, **seen,
        )  # fmt: skip

    def write(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.entries.append(entry)
            self.rollout = apply(self.rollout, entry)
            known = self.assignments.setdefault(self.rollout.generation, self.rollout.exposure)
            assert known == self.rollout.exposure, "a generation has one exposure for ever"

    def ask(self, verb: Verb, **asked: Any) -> None:
        self.write(ask(self.rollout, verb, Asked("ann", **asked), self.sight()))

    def confirm(self) -> None:
        for name in self.agents:
            self.agents[name] = self.rollout.generation
            self.served[name] = self.rollout.exposure

    def tick(self, seconds: float = 2.0, verdict: Verdict | None = None, **seen: Any) -> None:
        self.now += int(seconds * NANOS)
        results = None if verdict is None else (RuleResult("ratio/HIGH/p99", verdict, f"it is {verdict.value}"),)
        self.write(tick(self.rollout, self.sight(results=results, elapsed=seconds, **seen)))

    def to(self, state: State) -> None:
        """Go on with good news until the state is reached."""
        if self.rollout.state is State.DRAFT:
            self.ask(Verb.START)
        for _ in range(60):
            if self.rollout.state is state:
                return
            if self.rollout.state is State.GATED:
                self.ask(Verb.APPROVE)
                continue
            self.confirm()
            self.tick(2.0, Verdict.PASS if self.rollout.exposure else None)
        raise AssertionError(f"{state} was not reached: {self.rollout}")
