"""Calls of RolloutService for the command line, and what it prints of the answers.

Owns the choice of the newest rollout, and the live view; the connection is `lanecast.cli.metrics`'. Imported by the
subcommands when they run.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, Parse, ParseError

from lanecast.cli.metrics import TIMEOUT_SECONDS, connected
from lanecast.cli.output import terminal_text, write_json, write_line, write_note
from lanecast.core import exit_codes
from lanecast.core.priority import Priority
from lanecast.errors import ConfigError
from lanecast.runtime.policies import duration, seconds
from lanecast.v1 import rollout_pb2 as pb

_OVER = {pb.ROLLOUT_STATE_COMPLETED, pb.ROLLOUT_STATE_ROLLED_BACK, pb.ROLLOUT_STATE_CANCELLED}


@asynccontextmanager
async def _service(target: str) -> AsyncIterator[Any]:
    """Give the stub; what fails in the block becomes an error of ours."""
    async with connected(target) as client:
        yield client.rollouts


async def _id(stub: Any, name: str) -> str:
    if name:
        return name
    answer = await stub.ListRollouts(pb.ListRolloutsRequest(page_size=1), timeout=TIMEOUT_SECONDS)
    if not answer.rollouts:
        raise ConfigError("there is no rollout yet: create one with `lanecast rollout run --from … --to …`")
    return str(answer.rollouts[0].id)


def build_plan(percents: Sequence[int], given: dict[str, Any]) -> pb.RolloutPlan:
    """Return the plan that options describe."""
    plan = pb.RolloutPlan(
        baseline_policy=given["baseline"],
        candidate_policy=given["candidate"],
        max_latency_ratio=given["ratio"],
        benefit_ratio=given["prove"],
        objective=given["objective"],
        pinned_channels=given["pin"],
        settle_duration=duration(given["settle"]),
        look_interval=duration(given["look"]),
        bake_duration=duration(given["bake"]),
        quantiles=given["quantiles"],
    )
    for percent in percents:
        plan.stages.add(
            percent=max(0, percent),
            min_duration=duration(given["least"]),
            max_duration=duration(given["most"]),
            gated=percent in given["gate"],
        )
    return plan


async def create(
    target: str, plan: pb.RolloutPlan, actor: str, request_id: str = "", reason: str = ""
) -> pb.Rollout:  # fmt: skip
    """Create a rollout."""
    request = pb.CreateRolloutRequest(
        request_id=request_id or str(uuid.uuid4()), plan=plan, actor=actor, reason=reason
    )  # fmt: skip
    async with _service(target) as stub:
        found: pb.Rollout = (await stub.CreateRollout(request, timeout=TIMEOUT_SECONDS)).rollout
    return found


async def validate(target: str, plan: pb.RolloutPlan) -> pb.ValidateRolloutResponse:
    """Ask what a plan needs."""
    async with _service(target) as stub:
        found: pb.ValidateRolloutResponse = await stub.ValidateRollout(
            pb.ValidateRolloutRequest(plan=plan), timeout=TIMEOUT_SECONDS
        )
    return found


async def get(target: str, name: str) -> pb.Rollout:
    """Return a rollout, the newest where none is named."""
    async with _service(target) as stub:
        request = pb.GetRolloutRequest(id=await _id(stub, name))
        found: pb.Rollout = (await stub.GetRollout(request, timeout=TIMEOUT_SECONDS)).rollout
    return found


async def list_all(target: str) -> list[pb.Rollout]:
    """Return all rollouts."""
    async with _service(target) as stub:
        answer = await stub.ListRollouts(pb.ListRolloutsRequest(page_size=1_000), timeout=TIMEOUT_SECONDS)
    return list(answer.rollouts)


async def history(target: str, name: str) -> list[pb.HistoryEntry]:
    """Return the whole history of a rollout."""
    found: list[pb.HistoryEntry] = []
    async with _service(target) as stub:
        request = pb.ListRolloutHistoryRequest(id=await _id(stub, name))
        while True:
            answer = await stub.ListRolloutHistory(request, timeout=TIMEOUT_SECONDS)
            if not answer.entries:
                return found
            found += answer.entries
            request.after = answer.entries[-1].number


async def report(target: str, name: str) -> pb.GetRolloutReportResponse:
    """Return the report of a rollout."""
    async with _service(target) as stub:
        request = pb.GetRolloutReportRequest(id=await _id(stub, name))
        found: pb.GetRolloutReportResponse = await stub.GetRolloutReport(request, timeout=TIMEOUT_SECONDS)
    return found


async def ask(target: str, verb: str, name: str, asked: dict[str, Any]) -> pb.Rollout:
    """Ask for a verb."""
    async with _service(target) as stub:
        request = getattr(pb, f"{verb.capitalize()}RolloutRequest")(id=await _id(stub, name))
        request.context.MergeFrom(pb.VerbContext(**asked))
        found: pb.Rollout = (
            await getattr(stub, f"{verb.capitalize()}Rollout")(request, timeout=TIMEOUT_SECONDS)
        ).rollout
    return found


async def policies(target: str) -> list[pb.Policy]:
    """Return all policies."""
    async with _service(target) as stub:
        answer = await stub.ListPolicies(pb.ListPoliciesRequest(), timeout=TIMEOUT_SECONDS)
    return list(answer.policies)


async def create_policy(target: str, file: Path) -> pb.Policy:
    """Keep the policy of a file."""
    try:
        policy = Parse(file.read_text(), pb.Policy())  # noqa: ASYNC240 - nothing else runs
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except (ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no policy: {error}; see docs/rollouts.md for one to copy") from error
    async with _service(target) as stub:
        found: pb.Policy = (
            await stub.CreatePolicy(pb.CreatePolicyRequest(policy=policy), timeout=TIMEOUT_SECONDS)
        ).policy
    return found


async def run(target: str, plan: pb.RolloutPlan, actor: str, *, plain: bool) -> int:
    """Create, start, watch."""
    needs = await validate(target, plan)
    for problem in needs.problems:
        write_note(terminal_text(problem))
    rollout = await create(target, plan, actor)
    asked = {"actor": actor, "reason": "lanecast rollout run", "request_id": str(uuid.uuid4())}
    await ask(target, "start", rollout.id, asked)
    return await watch(target, rollout.id, plain=plain)


async def watch(target: str, name: str, *, plain: bool) -> int:
    """Show a rollout until it is over; return the exit code."""
    async with _service(target) as stub:
        request = pb.WatchRolloutRequest(id=await _id(stub, name))
        stream = (answer.rollout async for answer in stub.WatchRollout(request))
        last = await (_print_lines(stream) if plain else _draw(stream))
    return exit_codes.OK if last is not None and last.state == pb.ROLLOUT_STATE_COMPLETED else exit_codes.FAILED


async def _print_lines(stream: AsyncIterator[pb.Rollout]) -> pb.Rollout | None:
    last: pb.Rollout | None = None
    async for rollout in stream:
        if last is None or rollout.version != last.version or rollout.reason != last.reason:
            show_line(rollout, as_json=False)
        last = rollout
        if rollout.state in _OVER:
            return last
    return last


async def _draw(stream: AsyncIterator[pb.Rollout]) -> pb.Rollout | None:
    from rich.live import Live
    from rich.text import Text

    last: pb.Rollout | None = None
    with Live(refresh_per_second=4) as live:
        async for rollout in stream:
            last = rollout
            live.update(Text("\n".join(_lines(rollout))))
            if rollout.state in _OVER:
                break
    return last


def show(rollout: pb.Rollout, *, as_json: bool) -> None:
    """Print a rollout with its rules."""
    if as_json:
        write_json(MessageToDict(rollout))
        return
    for line in _lines(rollout):
        write_line(line)


def show_line(rollout: pb.Rollout, *, as_json: bool) -> None:
    """Print a rollout in one line."""
    if as_json:
        write_json(MessageToDict(rollout))
    else:
        write_line(f"{rollout.id}  {state(rollout):28} {_exposure(rollout):>6}  {terminal_text(rollout.reason)}")


def show_needs(answer: pb.ValidateRolloutResponse, *, as_json: bool) -> None:
    """Print what a plan needs."""
    if as_json:
        write_json(MessageToDict(answer))
        return
    for stage in answer.stages:
        known = stage.HasField("expected_duration")
        time = f"about {seconds(stage.expected_duration):,.0f} s" if known else "never, at the present traffic"
        write_line(
            f"{stage.percent:3} %  {stage.channels_needed} channels in each arm (about {stage.channels_active} active,"
            f" enough with a chance of {stage.channels_chance:.1%}),"
            f" {stage.samples_needed:,} samples in each arm: {time}"
        )
    for problem in answer.problems:
        write_line(f"problem: {terminal_text(problem)}")


def show_policy(policy: pb.Policy, *, as_json: bool) -> None:
    """Print a policy."""
    if as_json:
        write_json(MessageToDict(policy))
        return
    write_line(f"{policy.name}  {policy.digest[:12]}  {terminal_text(policy.description)}")
    for lane in policy.lanes:
        write_line(f"  {Priority(lane.lane).name:9} {', '.join(_settings(lane).values())}")


def differences(one: pb.Policy, other: pb.Policy) -> Iterator[str]:
    """Yield lines that say what two policies do differently."""
    if one.digest == other.digest:
        yield f"{one.name} and {other.name} have the same settings"
        return
    theirs = {lane.lane: _settings(lane) for lane in other.lanes}
    for lane in one.lanes:
        for name, text in _settings(lane).items():
            if theirs[lane.lane][name] != text:
                yield f"{Priority(lane.lane).name:9} {text}  becomes  {theirs[lane.lane][name]}"


def state(rollout: pb.Rollout) -> str:
    """Return the state as words."""
    word = pb.RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_")
    if not rollout.hold_reason:
        return word
    return f"{word} ({pb.HoldReason.Name(rollout.hold_reason).removeprefix('HOLD_REASON_').lower()})"


def state_in(entry: pb.HistoryEntry) -> str:
    """Return the state that an entry of the history leads to."""
    import json

    data = json.loads(entry.data_json)
    found = data.get("state", data.get("verdict", "")) if entry.kind in {"moved", "look"} else data.get("verb", "")
    return str(found)


def _settings(lane: pb.LaneSettings) -> dict[str, str]:
    kind = "always waits" if lane.fixed_window else "waits at most"
    return {
        "linger": f"{kind} {seconds(lane.linger) * 1e3:g} ms",
        "batch": f"batches of {lane.max_batch_events} events or {lane.max_batch_bytes:,} bytes",
        "limit": f"promises {seconds(lane.limit) * 1e3:g} ms",
    }


def _exposure(rollout: pb.Rollout) -> str:
    return f"{rollout.exposure_basis_points / 100:g} %"


def _lines(rollout: pb.Rollout) -> list[str]:
    plan = rollout.plan
    stages = " ".join(
        f"[{stage.percent}]" if number == rollout.stage_index and rollout.exposure_basis_points else str(stage.percent)
        for number, stage in enumerate(plan.stages)
    )
    where = f"{state(rollout)}, {_exposure(rollout)} of channels, stages {stages}, soak {seconds(rollout.soak):.0f} s"
    lines = [
        f"{rollout.id}  {plan.baseline_policy} -> {plan.candidate_policy}",
        f"  {where}, generation {rollout.generation}, version {rollout.version}",
        f"  {terminal_text(rollout.reason)}",
    ]
    if rollout.missing_agents:
        lines.append(f"  waiting for {', '.join(rollout.missing_agents)}")
    for result in rollout.results:
        verdict = pb.Verdict.Name(result.verdict).removeprefix("VERDICT_")
        lines.append(f"    {verdict:13} {terminal_text(result.text)}")
    lines.append(f"  legal now: {', '.join(rollout.legal_verbs) or 'nothing'}")
    return lines
