"""Hears from the controller of rollouts which channels are on which policy.

Owns the stream to metrics_svc: it reports what is applied and what the arms hold, and puts what it hears in force.
Where the stream breaks it tries again for ever, and meanwhile nothing changes. Started by `app`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from lanecast.core.backoff import Backoff
from lanecast.runtime import policies
from lanecast.runtime.grpc_server import CHANNEL_OPTIONS
from lanecast.v1 import rollout_pb2 as pb
from publisher_svc.core.arms import Arms, Assignment

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
"""How often the counts are reported."""
_CALL = "/lanecast.v1.RolloutService/StreamAssignments"


class AssignmentAgent:
    """See the module. Use: `start`, `close`."""

    def __init__(self, arms: Arms, target: str, name: str, on_change: Callable[[], None]) -> None:
        self._arms = arms
        self._target = target
        self._name = name
        self._on_change = on_change
        self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._task = asyncio.create_task(self._run(), name="assignments")

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._channel.close()

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async for response in self._open():
                    backoff.reset()
                    self._hear(response)
            except grpc.RpcError as error:
                log.debug("no assignments from %s: %s", self._target, error)
            await asyncio.sleep(backoff.next_delay())

    def _open(self) -> Any:
        call = self._channel.stream_stream(
            _CALL,
            request_serializer=pb.StreamAssignmentsRequest.SerializeToString,
            response_deserializer=pb.StreamAssignmentsResponse.FromString,
        )
        return call(self._reports())

    async def _reports(self) -> AsyncIterator[pb.StreamAssignmentsRequest]:
        while True:
            yield self.report()
            self._news.clear()
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    def report(self) -> pb.StreamAssignmentsRequest:
        """Return what the controller is told."""
        arms = self._arms
        counts = [
            pb.ArmCount(lane=lane.wire_value, arm=int(arm), channels=channels, dropped=dropped)  # type: ignore[arg-type]
            for (lane, arm), (channels, dropped) in arms.counts().items()
        ]
        return pb.StreamAssignmentsRequest(
            agent=self._name,
            applied_generation=arms.generation,
            policy=arms.own_policy,
            counts=counts,
            misassigned=arms.misassigned(),
        )

    def _hear(self, response: pb.StreamAssignmentsResponse) -> None:
        try:
            assignment = Assignment(
                response.generation,
                response.salt,
                response.exposure_basis_points,
                policies.from_message(response.baseline),
                policies.from_message(response.candidate),
                frozenset(response.pinned_channels),
            )
        except ValueError:
            log.exception("an assignment of channels to policies cannot be used; the one before stays in force")
            return
        if self._arms.apply(assignment):
            log.info(
                "generation %d: %g %% of channels on %s, the others on %s", assignment.generation,
                assignment.exposure / 100, assignment.candidate.name, assignment.baseline.name,
            )  # fmt: skip
            self._on_change()
        self._news.set()
