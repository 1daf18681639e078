"""Answers `lanecast.v1.RolloutService`.

Owns the rpcs: messages become calls of the controller and back. Registered by `app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from lanecast.core.bucketing import Arm
from lanecast.core.priority import Priority
from lanecast.errors import StatusError
from lanecast.runtime import policies
from lanecast.runtime.policies import duration
from lanecast.v1 import rollout_pb2 as pb
from metrics_svc.core.rollout import needs, report
from metrics_svc.core.rollout.model import Verb
from metrics_svc.rollout import messages
from metrics_svc.rollout.agents import Agent
from metrics_svc.rollout.controller import INVALID_ARGUMENT, UNAVAILABLE, Controller
from metrics_svc.streams import Streams

MAX_HISTORY = 1_000
MAX_PAGE, DEFAULT_PAGE = 1_000, 100
_WAIT_SECONDS = 1.0
_NUMBERS = frozenset(int(lane) for lane in Priority)


class RolloutServicer:
    """The rpcs of RolloutService."""

    def __init__(self, controller: Controller, streams: Streams) -> None:
        self._controller = controller
        self._streams = streams

    async def CreatePolicy(self, request: pb.CreatePolicyRequest, _context: Any) -> pb.CreatePolicyResponse:  # noqa: N802 - the contract's name
        """Keep an immutable policy."""
        try:
            policy = policies.from_message(request.policy)
        except ValueError as error:
            raise StatusError(INVALID_ARGUMENT, "POLICY_INVALID", str(error), field="policy") from error
        stored = await self._controller.create_policy(policy, request.policy.description)
        return pb.CreatePolicyResponse(policy=messages.policy_message(stored))

    async def ListPolicies(self, request: pb.ListPoliciesRequest, _context: Any) -> pb.ListPoliciesResponse:  # noqa: N802
        """Return all policies."""
        del request
        known = map(messages.policy_message, self._controller.policies())
        return pb.ListPoliciesResponse(policies=known, in_force=self._controller.in_force())

    def newest(self, number: int) -> list[tuple[object, pb.Rollout]]:
        """Return the newest rollouts, each with what is another object after each change."""
        return [(each, self._message(each.id)) for each in self._controller.rollouts()[:number]]

    async def CreateRollout(self, request: pb.CreateRolloutRequest, context: Any) -> pb.CreateRolloutResponse:  # noqa: N802
        """Create a rollout."""
        plan = messages.plan_of(request.plan)
        actor = request.actor or messages.stranger(_peer(context))
        rollout = await self._controller.create(plan, request.request_id, actor, request.reason)
        return pb.CreateRolloutResponse(rollout=self._message(rollout.id))

    async def ValidateRollout(self, request: pb.ValidateRolloutRequest, _context: Any) -> pb.ValidateRolloutResponse:  # noqa: N802
        """Say what each stage needs."""
        plan = messages.plan_of(request.plan)
        traffic = self._controller.traffic()
        problems = needs.explain(plan, traffic)
        known = {stored.policy.name for stored in self._controller.policies()}
        problems += [f"there is no policy {name}" for name in (plan.baseline, plan.candidate) if name not in known]
        response = pb.ValidateRolloutResponse(problems=problems)
        if plan.problems():
            return response
        found = needs.needs(plan, traffic)
        for number, stage in enumerate(plan.stages):
            own = [need for need in found if need.percent == stage.percent]
            share = needs.smallest_arm(plan.exposure(number))
            most = max((need.channels_active for need in own), default=0)
            entry = response.stages.add(
                percent=stage.percent,
                channels_needed=needs.MIN_CHANNELS,
                channels_active=int(most * share),
                channels_chance=needs.chance_of_channels(most, plan.exposure(number)),
                samples_needed=max((need.samples_needed for need in own), default=needs.least_samples(plan)),
            )
            seconds = needs.stage_seconds(plan, number, own)
            if seconds is not None:
                entry.expected_duration.CopyFrom(duration(seconds))
        return response

    async def GetRollout(self, request: pb.GetRolloutRequest, _context: Any) -> pb.GetRolloutResponse:  # noqa: N802
        """Return a rollout."""
        return pb.GetRolloutResponse(rollout=self._message(request.id))

    async def ListRollouts(self, request: pb.ListRolloutsRequest, _context: Any) -> pb.ListRolloutsResponse:  # noqa: N802
        """Return rollouts, newest first."""
        size = request.page_size or DEFAULT_PAGE
        token = request.page_token or "0"
        if not 1 <= size <= MAX_PAGE or not token.isdecimal():
            text = f"use a page_size of 1 to {MAX_PAGE} and the page_token of the page before"
            raise StatusError(INVALID_ARGUMENT, "PAGE_INVALID", text, field="page_size")
        rollouts, first = self._controller.rollouts(), int(token)
        page = rollouts[first : first + size]
        following = str(first + size) if first + size < len(rollouts) else ""
        return pb.ListRolloutsResponse(rollouts=[self._message(each.id) for each in page], next_page_token=following)

    async def ListRolloutHistory(  # noqa: N802
        self, request: pb.ListRolloutHistoryRequest, _context: Any
    ) -> pb.ListRolloutHistoryResponse:
        """Return the history of a rollout."""
        found = await self._controller.entries(request.id, request.after, MAX_HISTORY)
        return pb.ListRolloutHistoryResponse(entries=map(messages.entry_message, found))

    async def WatchRollout(  # noqa: N802
        self, request: pb.WatchRolloutRequest, _context: Any
    ) -> AsyncIterator[pb.WatchRolloutResponse]:
        """Yield a rollout now and after each change."""
        seen = None
        with self._streams.enter():
            while not self._streams.draining:
                rollout = self._controller.rollout(request.id)
                if rollout is not seen:
                    seen = rollout
                    yield pb.WatchRolloutResponse(rollout=self._message(request.id))
                else:
                    await self._controller.wait_for_change(1.0)
        text = "the service is going away: connect again in a moment"
        raise StatusError(UNAVAILABLE, "DRAINING", text, retry_delay_seconds=1.0)

    async def GetRolloutReport(self, request: pb.GetRolloutReportRequest, _context: Any) -> pb.GetRolloutReportResponse:  # noqa: N802
        """Return the report of a rollout."""
        rollout = self._controller.rollout(request.id)
        entries = [numbered.entry for numbered in await self._controller.entries(request.id)]
        facts = report.build(rollout, entries)
        return pb.GetRolloutReportResponse(
            markdown=report.to_markdown(facts), html=report.to_html(facts), json=report.to_json(facts)
        )

    async def StreamAssignments(self, requests: AsyncIterator[pb.StreamAssignmentsRequest], context: Any) -> None:  # noqa: N802
        """Tell a publisher which channels are on which policy, at once whenever that changes."""
        stream = object()
        sending = asyncio.create_task(self._send(context), name="send-assignments")
        try:
            async for request in requests:
                before = self._controller.agents.applied().get(request.agent)
                self._controller.agents.report(stream, _agent(request))
                if before != request.applied_generation:
                    await self._controller.heard()
                if sending.done() or self._streams.draining:
                    break
        finally:
            self._controller.agents.leave(stream)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, context: Any) -> None:
        sent = 0
        while True:
            rollout = self._controller.assigned()
            if rollout is not None and rollout.generation != sent:
                stored = {each.policy.name: each for each in self._controller.policies()}
                await context.write(messages.assignment_message(rollout, stored))
                sent = rollout.generation
            else:
                await self._controller.wait_for_change(_WAIT_SECONDS)

    def __getattr__(self, name: str) -> Callable[[Any, Any], Awaitable[Any]]:
        """Return the answer of the rpcs that are verbs: they differ in nothing but their names."""
        word = name.removesuffix("Rollout").lower()
        if not name.endswith("Rollout") or word not in {verb.value for verb in Verb}:
            raise AttributeError(name)
        response = getattr(pb, f"{name}Response")

        async def carry_out(request: Any, context: Any) -> Any:
            asked = messages.asked(request.context, _peer(context))
            rollout = await self._controller.ask(request.id, Verb(word), asked)
            return response(rollout=self._message(rollout.id))

        return carry_out

    def _message(self, name: str) -> pb.Rollout:
        rollout = self._controller.rollout(name)
        return messages.rollout_message(rollout, self._controller.missing(rollout))


def _peer(context: Any) -> str:
    """Return the address of the caller as gRPC writes it; nothing where the HTTP shell calls, which says who it is."""
    return "" if context is None else str(context.peer())


def _agent(request: pb.StreamAssignmentsRequest) -> Agent:
    counts = [each for each in request.counts if int(each.lane) in _NUMBERS and 0 <= each.arm <= 2]
    keyed = {(Priority(each.lane), Arm(each.arm)): each for each in counts}
    return Agent(
        request.agent,
        request.applied_generation,
        request.policy,
        {key: each.channels for key, each in keyed.items()},
        {key: each.dropped for key, each in keyed.items()},
        request.misassigned,
    )
