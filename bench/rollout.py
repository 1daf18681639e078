"""Rollouts of good and of harmful candidates on a real system: `python -m bench.rollout`.

Owns the candidates that are tried and what is printed. The system, the traffic and the checker are `rollout_system`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.rollout_system import OVER, Checker, Operator, System, Traffic, plan, quick, running, state_of
from lanecast.core.policy import DEFAULT, LanePolicy, Policy
from lanecast.core.priority import LANES, Priority
from lanecast.v1 import rollout_pb2 as pb

STALL_SECONDS, STALL_EVERY = 0.04, 0.1


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate, and what it is tried on."""

    text: str
    baseline: str
    candidate: Policy
    lanes: tuple[Priority, ...] = (Priority.HIGH,)
    ttl: float | None = None
    """Seconds for which an event is worth delivering."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the plan that differ from the usual."""
    stalls: bool = False
    """True: the publisher stands still at times while channels are exposed."""


def _all(linger: float, limit: float, events: int = 1_000) -> dict[Priority, LanePolicy]:
    return dict.fromkeys(LANES, LanePolicy(linger, events, 1024 * 1024, limit, fixed_window=True))


TRIALS = {
    "none": Trial("a good candidate", "legacy-500ms", quick("quick")),
    "slow": Trial("windows of 40 ms", "default", quick("harmful", 40, fixed=True)),
    "p99": Trial("30 % longer windows", "legacy-500ms", Policy("harmful", _all(0.65, 2.0))),
    "drops": Trial(
        "events are worth 0.6 s, and wait 0.9 s; only rules about drops can fail",
        "legacy-500ms",
        Policy("harmful", _all(0.9, 2.0)),
        (Priority.NORMAL,),
        ttl=0.6,
        plan={"max_latency_ratio": 100.0},
    ),
    "starves": Trial(
        "LOW waits for a minute, HIGH is as before",
        "default",
        Policy("harmful", {**DEFAULT.lanes, Priority.LOW: LanePolicy(60.0, 10_000, 16 * 1024 * 1024, 60.0, True)}),
        (Priority.HIGH, Priority.LOW),
    ),
    "both": Trial(
        f"the publisher stands still for {STALL_SECONDS:g} s in each {STALL_EVERY:g} s while channels are exposed",
        "default",
        quick("harmful"),
        plan={"max_interference_ratio": 1.5},
        stalls=True,
    ),
}
"""By `--harm`."""


async def _stall(system: System, operator: Operator, name: str) -> None:
    """Slow both arms, as a candidate does that keeps the publisher busy, until no channel is exposed."""
    await operator.until(name, {"PROPAGATING", "SETTLING", "ANALYSING"})
    while (await operator.get(name)).exposure_basis_points:
        system.stop("publisher")
        await asyncio.sleep(STALL_SECONDS)
        system.go_on("publisher")
        await asyncio.sleep(STALL_EVERY - STALL_SECONDS)


async def _roll(
    trial: Trial, options: argparse.Namespace, system: System, operator: Operator, checker: Checker
) -> tuple[pb.Rollout, pb.GetRolloutReportResponse]:
    made = plan(trial.baseline, trial.candidate.name, (10, 25, 50, 75, 100))
    for key, value in trial.plan.items():
        setattr(made, key, value)
    name = await operator.create(made, trial.candidate)
    checker.salt = name
    await operator.ask("start", name, reason="bench")
    stalls = asyncio.create_task(_stall(system, operator, name)) if trial.stalls else None
    try:
        rollout = await operator.until(name, OVER, options.timeout)
    finally:
        if stalls is not None:
            stalls.cancel()
            with suppress(asyncio.CancelledError):
                await stalls
            system.go_on("publisher")
    report = await operator.call("GetRolloutReport", pb.GetRolloutReportRequest(id=name))
    return rollout, report


async def _main(options: argparse.Namespace) -> int:
    trial = TRIALS[options.harm]
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder), trial.baseline, options.channels, options.rate, trial.lanes, trial.ttl) as (
            system,
            operator,
            checker,
            traffic,
        ):
            began = time.monotonic()
            rollout, report = await _roll(trial, options, system, operator, checker)
            took = time.monotonic() - began
    if options.report:
        Path(options.report).write_text(report.html)  # noqa: ASYNC240 - nothing else runs
    sys.stdout.write(f"{report.markdown}\n{trial.text}: {state_of(rollout)} after {took:.1f} s\n")
    _write_delivery(checker, traffic)
    wanted = {"COMPLETED"} if options.harm == "none" else {"ROLLED_BACK", "HELD"}
    return 0 if state_of(rollout) in wanted and not checker.problems else 1


def _write_delivery(checker: Checker, traffic: Traffic) -> None:
    first, last = checker.candidate_times or (0.0, 0.0)
    sys.stdout.write(
        f"{last - first:.1f} s from the first candidate event to the last; {len(traffic.acknowledged):,} events"
        f" acknowledged, {checker.received:,} received, {checker.expired:,} expired by notice, problems:"
        f" {checker.problems[:5] or 'none'}\n"
        f"batches by generation and arm: {dict(sorted(checker.arms.items()))}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollout", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--channels", type=int, default=600)
    parser.add_argument("--rate", type=float, default=1_500.0, help="events/s over all channels")
    parser.add_argument("--timeout", type=float, default=240.0)
    texts = "; ".join(f"{name}: {trial.text}" for name, trial in TRIALS.items())
    parser.add_argument("--harm", choices=list(TRIALS), default="none", help=texts.replace("%", "%%"))
    parser.add_argument("--report", default="", help="write the report as HTML to this file")
    return asyncio.run(_main(parser.parse_args(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
