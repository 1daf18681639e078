"""Rollouts as messages.

Owns the translation between `core.rollout` and `lanecast.v1.rollout`, with the defaults of a plan. Used by the gRPC and
the HTTP shell.
"""

from __future__ import annotations

import json
from urllib.parse import unquote

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lanecast.core.priority import Priority
from lanecast.runtime import policies
from lanecast.runtime.policies import duration, seconds
from lanecast.v1 import rollout_pb2 as pb
from metrics_svc.core.rollout.machine import Asked, legal
from metrics_svc.core.rollout.model import DEFAULT_STAGES, Plan, Rollout, Stage
from metrics_svc.rollout.store import Numbered, StoredPolicy

_DEFAULT = Plan("", "")


def policy_message(stored: StoredPolicy) -> pb.Policy:
    """Return a policy as a message."""
    message = policies.to_message(stored.policy)
    message.description = stored.description
    if stored.create_ns:
        message.create_time.FromNanoseconds(stored.create_ns)
    return message


def plan_of(message: pb.RolloutPlan) -> Plan:
    """Return the plan of a message; what is not set has its default."""
    stages = tuple(
        Stage(
            each.percent,
            _given(each, "min_duration", each.min_duration, DEFAULT_STAGES[0].min_seconds),
            _given(each, "max_duration", each.max_duration, DEFAULT_STAGES[0].max_seconds),
            each.gated,
        )
        for each in message.stages
    )
    return Plan(
        message.baseline_policy,
        message.candidate_policy,
        stages or DEFAULT_STAGES,
        message.max_latency_ratio or _DEFAULT.max_latency_ratio,
        message.max_interference_ratio or _DEFAULT.max_interference_ratio,
        message.benefit_ratio,
        message.objective,
        tuple(message.pinned_channels),
        _given(message, "settle_duration", message.settle_duration, _DEFAULT.settle_seconds),
        _given(message, "look_interval", message.look_interval, _DEFAULT.look_seconds),
        _given(message, "bake_duration", message.bake_duration, _DEFAULT.bake_seconds),
        _given(message, "propagation_timeout", message.propagation_timeout, _DEFAULT.propagation_seconds),
        _given(message, "verify_duration", message.verify_duration, _DEFAULT.verify_seconds),
        tuple(message.quantiles) or _DEFAULT.quantiles,
    )


def plan_message(plan: Plan) -> pb.RolloutPlan:
    """Return a plan as a message."""
    message = pb.RolloutPlan(
        baseline_policy=plan.baseline,
        candidate_policy=plan.candidate,
        max_latency_ratio=plan.max_latency_ratio,
        max_interference_ratio=plan.max_interference_ratio,
        benefit_ratio=plan.benefit_ratio,
        objective=plan.objective,
        pinned_channels=plan.pinned,
        settle_duration=duration(plan.settle_seconds),
        look_interval=duration(plan.look_seconds),
        bake_duration=duration(plan.bake_seconds),
        propagation_timeout=duration(plan.propagation_seconds),
        verify_duration=duration(plan.verify_seconds),
        quantiles=plan.quantiles,
    )
    for stage in plan.stages:
        message.stages.add(
            percent=stage.percent,
            min_duration=duration(stage.min_seconds),
            max_duration=duration(stage.max_seconds),
            gated=stage.gated,
        )
    return message


def rollout_message(rollout: Rollout, missing: list[str]) -> pb.Rollout:
    """Return a rollout as a message."""
    message = pb.Rollout(
        id=rollout.id,
        plan=plan_message(rollout.plan),
        state=pb.RolloutState.Value(f"ROLLOUT_STATE_{rollout.state.value}"),
        hold_reason=pb.HoldReason.Value(f"HOLD_REASON_{rollout.hold.value}") if rollout.hold else 0,  # type: ignore[arg-type]
        stage_index=rollout.stage,
        exposure_basis_points=rollout.exposure,
        verdict=_verdict(rollout.verdict.value if rollout.verdict else "UNSPECIFIED"),
        reason=rollout.reason,
        version=rollout.version,
        generation=rollout.generation,
        create_time=_time(rollout.create_ns),
        update_time=_time(rollout.update_ns),
        legal_verbs=[verb.value for verb in legal(rollout)],
        missing_agents=missing,
        soak=duration(rollout.soak),
        lanes=[Priority[name].wire_value for name in rollout.lanes],
        attempt=rollout.attempt,
    )
    for result in rollout.results:
        message.results.add(
            rule=result["rule"],
            verdict=_verdict(result["verdict"]),
            text=result["text"],
            value=result["value"] or 0.0,
            low=result["low"] or 0.0,
            high=result["high"] or 0.0,
            limit=result["limit"] or 0.0,
            control_samples=result["control"],
            candidate_samples=result["candidate"],
            critical=result["critical"],
            guard_only=result["guard_only"],
        )
    return message


def entry_message(numbered: Numbered) -> pb.HistoryEntry:
    """Return an entry of the history as a message."""
    entry = numbered.entry
    return pb.HistoryEntry(
        number=numbered.number,
        time=_time(entry.time_ns),
        kind=entry.kind,
        actor=entry.actor,
        reason=entry.reason,
        data_json=json.dumps(entry.data),
    )


def asked(context: pb.VerbContext, peer: str) -> Asked:
    """Return who asks; the address, where no name is given."""
    return Asked(context.actor or stranger(peer), context.reason, context.request_id, context.expected_version)


def stranger(peer: str) -> str:
    """Return what the record calls somebody of whom only the address is known, without the port of the day."""
    kind, _, rest = peer.partition(":")
    host = unquote(rest.rpartition(":")[0]).strip("[]") if kind in {"ipv4", "ipv6"} else ""
    return f"someone at {host}" if host else "someone"


def assignment_message(rollout: Rollout, stored: dict[str, StoredPolicy]) -> pb.StreamAssignmentsResponse:
    """Return what publishers are told."""
    plan = rollout.plan
    return pb.StreamAssignmentsResponse(
        generation=rollout.generation,
        salt=rollout.salt,
        exposure_basis_points=rollout.exposure,
        baseline=policies.to_message(stored[plan.baseline].policy),
        candidate=policies.to_message(stored[plan.candidate].policy),
        pinned_channels=plan.pinned,
    )


def _given(message: pb.RolloutPlan | pb.RolloutStage, name: str, value: Duration, default: float) -> float:
    return seconds(value) if message.HasField(name) else default  # type: ignore[arg-type]


def _verdict(name: str) -> pb.Verdict.ValueType:
    return pb.Verdict.Value(f"VERDICT_{name}")


def _time(unix_nano: int) -> Timestamp:
    found = Timestamp()
    found.FromNanoseconds(unix_nano)
    return found
