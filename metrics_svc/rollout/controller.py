"""Drives rollouts: looks, decides by the machine, writes, tells.

Owns the present state of every rollout, the clock of looks, and the order "write, then apply, then tell": what a
publisher or a watcher sees is on the disk. Built by `wiring`; called by the gRPC and HTTP shells with verbs, and by the
OTLP receiver with samples.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import uuid_utils

from lanecast.core.bucketing import Arm
from lanecast.core.instruments import ROLLOUT_CANDIDATE_TIME, ROLLOUT_FAULTS, ROLLOUT_LATENCY
from lanecast.core.policy import Policy
from lanecast.core.priority import Priority
from lanecast.errors import StatusError
from metrics_svc.core.rollout import history, machine, needs
from metrics_svc.core.rollout.history import CREATED, NOTED, Entry
from metrics_svc.core.rollout.model import (
    IDLE,
    RETURNING,
    IllegalVerbError,
    Plan,
    Rollout,
    StaleVersionError,
    State,
    Verb,
    Verdict,
)  # fmt: skip
from metrics_svc.core.rollout.results import RuleResult
from metrics_svc.core.telemetry import Point, Process
from metrics_svc.rollout.agents import Agents
from metrics_svc.rollout.store import FencedError, RolloutStore, StoredPolicy

if TYPE_CHECKING:
    from metrics_svc.rollout.judge import Judge

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED, UNAVAILABLE = 3, 5, 6, 9, 10, 14
DIVERTED = frozenset({ROLLOUT_LATENCY, ROLLOUT_FAULTS, ROLLOUT_CANDIDATE_TIME})

OnChange = Callable[[Rollout, Sequence[Entry]], None]


class Controller:
    """See the module. Use: `start`, then anything, then `close`."""

    def __init__(
        self,
        store: RolloutStore,
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
        rate: Callable[[Priority], float],
        on_change: OnChange,
    ) -> None:
        self.agents = Agents()
        self._store = store
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._rate = rate
        self._on_change = on_change
        self._rollouts: dict[str, Rollout] = {}
        self._policies: dict[str, StoredPolicy] = {}
        self._judge: Judge | None = None
        self._candidate_ns = 0
        self._looked = monotonic()
        self._lock = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._fenced = False

    async def start(self) -> None:
        """Read the history, hold what was under way, begin to tick."""
        self._policies = await asyncio.to_thread(self._store.policies)
        found: dict[str, list[Entry]] = {}
        for numbered in await asyncio.to_thread(self._store.history):
            found.setdefault(numbered.entry.rollout, []).append(numbered.entry)
        self._rollouts = {name: history.fold(entries) for name, entries in found.items()}
        active = self.active()
        if active is not None:
            await self._load_judge(active, found[active.id])
            await self._write(active, machine.recover(active, self._sight()))
        self._task = asyncio.create_task(self._run(), name="rollouts")

    async def close(self) -> None:
        """Stop; what is under way goes on where it is at the next start. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await asyncio.to_thread(self._store.close)

    # What there is

    def policies(self) -> list[StoredPolicy]:
        """Return all policies by name."""
        return list(self._policies.values())

    def policy(self, name: str) -> Policy:
        """Return a policy.

        Raises:
            StatusError: there is none of that name.
        """
        stored = self._policies.get(name)
        if stored is None:
            text = f"there is no policy {name!r:.80}: use one of {', '.join(self._policies)}, or create it"
            raise StatusError(NOT_FOUND, "POLICY_UNKNOWN", text)
        return stored.policy

    def rollouts(self) -> list[Rollout]:
        """Return all rollouts, newest first."""
        return sorted(self._rollouts.values(), key=lambda rollout: rollout.create_ns, reverse=True)

    def rollout(self, name: str) -> Rollout:
        """Return a rollout.

        Raises:
            StatusError: there is none.
        """
        found = self._rollouts.get(name)
        if found is None:
            text = f"there is no rollout {name!r:.80}: list them with `lanecast rollout list`"
            raise StatusError(NOT_FOUND, "ROLLOUT_UNKNOWN", text)
        return found

    def active(self) -> Rollout | None:
        """Return the rollout that is under way."""
        return next((each for each in self._rollouts.values() if each.state not in IDLE), None)

    def assigned(self) -> Rollout | None:
        """Return the rollout whose assignment is in force: the one with the newest generation."""
        found = max(self._rollouts.values(), key=lambda each: each.generation, default=None)
        return found if found is not None and found.generation else None

    def in_force(self) -> list[str]:
        """Return the policies that channels are on which no rollout moves; several where publishers differ."""
        assigned = self.assigned()
        if assigned is None:
            return sorted(set(self.agents.policies().values()))
        return [assigned.plan.candidate if assigned.state is State.COMPLETED else assigned.plan.baseline]

    def missing(self, rollout: Rollout) -> list[str]:
        """Return the publishers that have not confirmed the generation of a rollout that is under way."""
        return [] if rollout.state in IDLE else self._sight().missing(rollout)

    async def entries(self, name: str, after: int = 0, limit: int = -1) -> list[Any]:
        """Return the history of a rollout with the number of each entry."""
        self.rollout(name)
        return await asyncio.to_thread(self._store.history, name, after, limit)

    async def wait_for_change(self, seconds: float) -> None:
        """Return after the next change of any rollout or assignment, or that time."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait()
        except TimeoutError:
            return

    def traffic(self) -> dict[Priority, needs.Traffic]:
        """Return active channels and rate of each lane."""
        channels = self._lane_channels()
        return {lane: needs.Traffic(number, self._rate(lane)) for lane, number in channels.items()}

    # What is asked

    async def create_policy(self, policy: Policy, description: str) -> StoredPolicy:
        """Keep a policy; the same one again changes nothing."""
        async with self._lock:
            known = self._policies.get(policy.name)
            if known is not None:
                if known.policy.digest == policy.digest:
                    return known
                text = (
                    f"the policy {policy.name} exists with other settings, and policies never change: take another name"
                )
                raise StatusError(ALREADY_EXISTS, "POLICY_EXISTS", text, field="policy.name")
            stored = StoredPolicy(policy, description, self._clock_ns())
            await asyncio.to_thread(self._store.add_policy, stored)
            self._policies[policy.name] = stored
            return stored

    async def create(self, plan: Plan, request_id: str, actor: str, reason: str = "") -> Rollout:
        """Create a rollout in DRAFT; the same request again returns the same one."""
        async with self._lock:
            made = await self._made_before(request_id)
            if made is not None:
                return made
            for name in (plan.baseline, plan.candidate):
                self.policy(name)
            problems = plan.problems()
            if problems:
                raise StatusError(INVALID_ARGUMENT, "PLAN_INVALID", problems[0], field="plan")
            name = f"r-{uuid_utils.uuid7().hex[-12:]}"
            data = {"plan": history.plan_data(plan)}
            entry = Entry(name, CREATED, self._clock_ns(), data, actor, reason, request_id)
            return await self._write(None, [entry])

    async def ask(self, name: str, verb: Verb, asked: machine.Asked) -> Rollout:
        """Carry out a verb.

        Raises:
            StatusError: the rollout is unknown or has changed, or its state or another one's does not allow the verb.
        """
        async with self._lock:
            made = await self._made_before(asked.request_id)
            if made is not None:
                return made
            rollout = self.rollout(name)
            try:
                entries = machine.ask(rollout, verb, asked, self._sight())
            except IllegalVerbError as error:
                raise StatusError(FAILED_PRECONDITION, "VERB_ILLEGAL", str(error)) from error
            except StaleVersionError as error:
                raise StatusError(ABORTED, "VERSION_STALE", str(error), field="context.expected_version") from error
            if verb in {Verb.START, Verb.RETRY}:
                self._check_start(rollout)
                await self._load_judge(rollout, [])
            return await self._write(rollout, entries)

    def take(self, process: Process, point: Point) -> bool:
        """Take a point of telemetry where it is about a rollout's arms; say whether it was."""
        if point.key.name not in DIVERTED:
            return False
        if point.key.name == ROLLOUT_CANDIDATE_TIME:
            if isinstance(point.value, float):
                self._candidate_ns = max(self._candidate_ns, int(point.value * 1e9))
        elif self._judge is not None:
            self._judge.take(process, point, self._clock_ns())
        return True

    async def heard(self) -> None:
        """Look at once: a publisher has confirmed a generation or come back."""
        async with self._lock:
            await self._tick(look=False)

    # By itself

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                async with self._lock:
                    await self._tick(look=True)
            except FencedError as error:
                log.error("%s; this one controls them no more", error)  # noqa: TRY400 - no fault of this process
                self._fenced = True
                return
            except Exception:
                # Whatever it is, the rollout stays where it is: nothing advances without a look.
                log.exception("unexpected failure while looking at a rollout")

    async def _tick(self, *, look: bool) -> None:
        rollout = self.active()
        if rollout is None or self._fenced:
            return
        elapsed = self._monotonic() - self._looked
        due = look and elapsed >= rollout.plan.look_seconds
        results: tuple[RuleResult, ...] | None = None
        before, recovered = None, None
        judge = self._judge
        if judge is not None and judge.generation == rollout.generation:
            if due and rollout.exposure:
                results = self._look(judge, rollout)
            if due and rollout.state is State.STARTING:
                before = judge.see_before(rollout.plan, self._lane_channels(rollout.generation))
            if rollout.state in RETURNING:
                recovered = judge.recovered()
        capped = min(elapsed, 3 * rollout.plan.look_seconds)
        sight = self._sight(results=results, elapsed=capped, before=before, recovered=recovered)
        if due:
            self._looked = self._monotonic()
            if judge is not None:
                judge.end_look(elapsed)
        entries = machine.tick(rollout, sight)
        if judge is not None and rollout.state is State.STARTING and any(entry.kind == "moved" for entry in entries):
            series = {lane.name: values for lane, values in judge.before.items()}
            entries = [Entry(rollout.id, NOTED, sight.now_ns, {"before": series}, reason="as it was"), *entries]
        await self._write(rollout, entries)

    def _look(self, judge: Judge, rollout: Rollout) -> tuple[RuleResult, ...]:
        channels = self.agents.channels(rollout.generation)
        results = judge.look(rollout, self.policy(rollout.plan.candidate), channels)
        wrong = self.agents.misassigned(rollout.generation)
        verdict = Verdict.FAIL if wrong else Verdict.PASS
        text = f"{wrong} channels are served in a wrong arm" if wrong else "every channel is served in its arm"
        assigned = RuleResult("invariant/assignment", verdict, text, critical=True, value=float(wrong), limit=0.0)
        return (assigned, *results, *self._drops(rollout))

    def _drops(self, rollout: Rollout) -> list[RuleResult]:
        """The candidate does not let more events expire than the control, for its share of channels."""
        dropped, channels = self.agents.dropped(rollout.generation), self.agents.channels(rollout.generation)
        found: list[RuleResult] = []
        for name in rollout.lanes:
            lane = Priority[name]
            ours, theirs = dropped[lane, Arm.CANDIDATE], dropped[lane, Arm.CONTROL]
            scale = channels[lane, Arm.CANDIDATE] / max(1, channels[lane, Arm.CONTROL])
            expected = theirs * scale
            # Poisson: ten more than three standard deviations above what the control lets one expect.
            too_many = ours > expected + 3 * max(1.0, expected) ** 0.5 + 10
            text = f"{name}: {ours} candidate events expired in queues, {expected:.0f} to be expected of the control"
            verdict = Verdict.FAIL if too_many else Verdict.PASS
            found.append(RuleResult(f"dropped/{name}", verdict, text, lane=name, value=float(ours), limit=expected))
        return found

    async def _write(self, rollout: Rollout | None, entries: list[Entry]) -> Rollout:
        """Write entries, apply them, tell everybody."""
        if not entries:
            assert rollout is not None
            return rollout
        try:
            await asyncio.to_thread(self._store.append, entries)
        except FencedError as error:
            self._fenced = True
            raise StatusError(UNAVAILABLE, "FENCED", f"{error}: ask that one", retry_delay_seconds=1.0) from error
        was = rollout
        for entry in entries:
            before, rollout = rollout, history.apply(rollout, entry)
            if before is not None and (before.state is not rollout.state or before.generation != rollout.generation):
                self._enter(before, rollout)
        assert rollout is not None
        self._rollouts[rollout.id] = rollout
        if was is None or was.version != rollout.version:
            log.info("rollout %s is %s: %s", rollout.id, rollout.state.value, rollout.reason)
        self._on_change(rollout, entries)
        async with self._changed:
            self._changed.notify_all()
        return rollout

    def _enter(self, before: Rollout, now: Rollout) -> None:
        self._looked = self._monotonic()
        judge = self._judge
        if judge is None:
            return
        if now.generation != before.generation:
            judge.begin(now.generation)
        elif now.state is State.ANALYSING:
            judge.restart()

    def _sight(self, **seen: Any) -> machine.Sight:
        applied = self.agents.applied()
        newest = max([0, *applied.values(), *(each.generation for each in self._rollouts.values())])
        return machine.Sight(self._clock_ns(), newest + 1, applied, candidate_ns=self._candidate_ns, **seen)

    def _lane_channels(self, generation: int | None = None) -> dict[Priority, int]:
        found: dict[Priority, int] = {}
        for (lane, _), number in self.agents.channels(generation).items():
            found[lane] = found.get(lane, 0) + number
        return found

    async def _made_before(self, request_id: str) -> Rollout | None:
        if not request_id:
            return None
        entry = await asyncio.to_thread(self._store.find_request, request_id)
        return None if entry is None else self._rollouts[entry.rollout]

    async def _load_judge(self, rollout: Rollout, entries: list[Entry]) -> None:
        if find_spec("scipy") is None:
            text = "rollouts are judged with scipy, which is not installed: pip install 'lanecast[rollouts]'"
            raise StatusError(FAILED_PRECONDITION, "SCIPY_MISSING", text)
        before = next((entry.data["before"] for entry in reversed(entries) if "before" in entry.data), None)
        module = await asyncio.to_thread(_import_judge)
        self._judge = module(rollout.generation, before)

    def _check_start(self, rollout: Rollout) -> None:
        active = self.active()
        if active is not None:
            text = f"rollout {active.id} is {active.state.value}: one at a time; wait for it, or roll it back"
            raise StatusError(FAILED_PRECONDITION, "ROLLOUT_ACTIVE", text)
        policies = self.agents.policies()
        if not policies:
            text = "no publisher is connected to this metrics_svc: start one with LANECAST_METRICS_TARGET set to it"
            raise StatusError(FAILED_PRECONDITION, "NO_PUBLISHER", text)
        assigned = self.assigned()
        if assigned is not None:
            plan = assigned.plan
            policies = {"the last rollout": plan.candidate if assigned.state is State.COMPLETED else plan.baseline}
        for who, name in sorted(policies.items()):
            if name != rollout.plan.baseline:
                text = (
                    f"the policy in force is {name} (by {who}), not {rollout.plan.baseline}: create a rollout from"
                    f" {name}, or start the publishers with LANECAST_PUBLISHER_POLICY={rollout.plan.baseline}"
                )
                raise StatusError(FAILED_PRECONDITION, "BASELINE_NOT_IN_FORCE", text)


def _import_judge() -> type[Judge]:
    from metrics_svc.rollout.judge import Judge

    return Judge
