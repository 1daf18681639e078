"""One scenario, from starting the services to a verdict.

Owns the course of a run, the measuring of recoveries and the outcome. Called by the tests and by `__main__`.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from faults.checker import Breach, Key, Lane, check
from faults.processes import ProcessError
from faults.stack import Plan, Stack, StackError, read_service

HELD, BROKEN, NOT_BUILT, NOT_HERE = "held", "broken", "not built", "not possible here"
_MOST_PROBLEMS = 12
_RECOVER_AT_MOST = 60.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the table of faults, or one of its cases."""

    name: str
    row: str
    """The fault, as docs/reliability.md has it."""
    must: str
    """What must be true afterwards."""
    inject: Callable[[Run], Awaitable[None]] | None
    """Does it; None where what it concerns is not there yet."""
    plan: Plan = field(default_factory=Plan)
    ready_seconds: float = 2.0
    """Time within which a process that was killed has to be ready again."""
    recover_seconds: float = 5.0
    """Time within which the system has to be whole again."""
    absent: Callable[[], str | None] = lambda: None
    """Says what the machine lacks for it, None where it lacks nothing."""
    unbuilt: Callable[[], str | None] = lambda: None
    """Says what of Lanecast is not there yet."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done, where that is a choice."""

    kills: int = 200
    sessions: int = 1_000
    """Sessions that resume at once."""


@dataclass(slots=True)
class Outcome:
    """What came of a scenario."""

    name: str
    row: str
    must: str
    seed: int
    result: str = HELD
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """Seconds, by what had to happen."""
    figures: dict[str, Any] = field(default_factory=dict)

    def slowest(self) -> float | None:
        """Return the longest time to recover."""
        return max((max(times) for times in self.recoveries.values() if times), default=None)


class Run:
    """What a scenario works with while it runs."""

    def __init__(self, scenario: Scenario, stack: Stack, outcome: Outcome, tell: Callable[[str], None], size: Size):
        self.scenario = scenario
        self.stack = stack
        self.outcome = outcome
        self.random = stack.random
        self.tell = tell
        self.kills = size.kills
        self.sessions = size.sessions
        self.excused_breaches: set[Breach] = set()

    def require(self, holds: bool, sentence: str) -> None:
        """Note a breach of something the checker does not know of."""
        if not holds:
            self.outcome.problems.append(sentence)

    def note(self, **figures: Any) -> None:
        """Keep figures for the report."""
        self.outcome.figures.update(figures)

    async def recover(self, what: str, work: Awaitable[None], since: float, *, limit: float | None = None) -> float:
        """Wait for a recovery, note how long it took since a moment (monotonic clock), and hold it to the limit."""
        allowed = self.scenario.recover_seconds if limit is None else limit
        try:
            await asyncio.wait_for(work, _RECOVER_AT_MOST)
        except TimeoutError:
            self.require(False, f"{what}: not within {_RECOVER_AT_MOST:g} s")
        took = time.monotonic() - since
        self.outcome.recoveries.setdefault(what, []).append(took)
        self.require(took <= allowed, f"{what} took {took:.2f} s, allowed are {allowed:g} s")
        return took

    async def recover_flow(self, since: float, since_ns: int, *, limit: float | None = None) -> None:
        """Wait until an event is acknowledged, and one has reached every subscriber, that came after a moment."""
        await self.recover("publish", self.stack.acknowledging(since), since, limit=limit)
        await self.recover("deliver", self.stack.flowing(since_ns), since, limit=limit)

    async def pause(self, shortest: float, longest: float) -> None:
        """Let the system run for a random time."""
        await asyncio.sleep(self.random.uniform(shortest, longest))


async def run(
    scenario: Scenario,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
    *,
    size: Size | None = None,
    keep: bool = False,
) -> Outcome:
    """Run a scenario; everything it started is gone afterwards.

    Args:
        scenario: What to do.
        seed: Where all chance comes from.
        tell: Called with what is going on.
        size: How much is done, where that is a choice.
        keep: Leave the services' data and output behind.
    """
    outcome = Outcome(scenario.name, scenario.row, scenario.must, seed)
    for word, why in ((NOT_BUILT, scenario.unbuilt()), (NOT_HERE, scenario.absent())):
        if why is not None:
            outcome.result = word
            outcome.problems.append(why)
            return outcome
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="lanecast-faults-"))
    try:
        await _run_in(folder, scenario, outcome, tell, size or Size())
    finally:
        outcome.seconds = time.monotonic() - began
        if keep:
            outcome.figures["folder"] = str(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if outcome.problems:
        outcome.result = BROKEN
    return outcome


async def _run_in(folder: Path, scenario: Scenario, outcome: Outcome, tell: Callable[[str], None], size: Size) -> None:
    stack = Stack(scenario.plan, folder, Random(outcome.seed))
    current = Run(scenario, stack, outcome, tell, size)
    assert scenario.inject is not None
    try:
        tell("starting")
        await stack.start()
        await scenario.inject(current)
        tell("coming to rest")
        outcome.problems += await stack.come_to_rest()
        shared = await read_service(stack.publisher.address, stack.channels) if stack.brokers else None
        await _stop_services(current)
        tell("judging")
        await _judge(current, *(shared or await stack.stored()))
    except (StackError, ProcessError) as error:
        outcome.problems.append(str(error))
    finally:
        await stack.close()


async def _stop_services(current: Run) -> None:
    stack = current.stack
    for service in stack.services():
        if service.alive:
            code = await service.terminate()
            current.require(code == 0, f"{service.name} ended with {code} when told to drain: {service.words()}")
    for service in stack.services():
        trace = service.traceback()
        current.require(trace is None, f"{service.name} printed a traceback: {trace}")


async def _judge(current: Run, stored: dict[Key, Lane], first_offset: int) -> None:
    stack, outcome = current.stack, current.outcome
    verdict = await asyncio.to_thread(check, stack.acks(), stack.journals(), stored, first_offset)
    counts = {breach.name.lower(): verdict.number(breach) for breach in Breach if verdict.number(breach)}
    outcome.figures.update(verdict.counts)
    outcome.figures["breaches"] = counts
    outcome.figures["reconnects"] = sum(recorder.connections - 1 for recorder in stack.recorders)
    outcome.figures["closes"] = dict(stack.closes().most_common())
    outcome.figures["unacknowledged"] = dict(stack.failures())
    outcome.figures["p99_ms"] = stack.take_latency()
    found = [problem for problem in verdict.problems if problem.breach not in current.excused_breaches]
    outcome.problems += _first(found)
    errors = [f"{recorder.name}: {error}" for recorder in stack.recorders for error in recorder.errors]
    outcome.problems += _first(errors)
    current.require(verdict.counts.get("acknowledged", 0) > 0, "nothing was acknowledged: the run shows nothing")


def _first(found: Sequence[object]) -> list[str]:
    shown = [str(each) for each in found[:_MOST_PROBLEMS]]
    return shown if len(found) <= _MOST_PROBLEMS else [*shown, f"… and {len(found) - _MOST_PROBLEMS} more"]
