"""Hears from the controller of rollouts which channels are on which policy.

Owns what is said on the stream to metrics_svc: it reports what is applied and what the arms hold, and puts what it
hears in force. While there is no stream nothing changes. Started by `app`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from lanecast.runtime import policies
from lanecast.runtime.standing import StandingStream
from lanecast.v1 import rollout_pb2 as pb
from publisher_svc.core.arms import Arms, Assignment

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
"""How often the counts are reported."""
_METHOD = "/lanecast.v1.RolloutService/StreamAssignments"


class AssignmentAgent:
    """See the module. Use: `start`, `close`."""

    def __init__(self, arms: Arms, target: str, name: str, on_change: Callable[[], None]) -> None:
        self._arms = arms
        self._name = name
        self._on_change = on_change
        self._news = asyncio.Event()
        self._stream = StandingStream(
            target, _METHOD, pb.StreamAssignmentsRequest, pb.StreamAssignmentsResponse, self._serve,
            lost="rollouts cannot change the policies of channels here",
        )  # fmt: skip

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._stream.start()

    async def close(self) -> None:
        """Stop. Idempotent."""
        await self._stream.close()

    async def _serve(self, stream_assignments: Any, alive: Callable[[], None]) -> None:
        call: Any = stream_assignments(self._reports())
        try:
            async for response in call:
                alive()
                self._hear(response)
        finally:
            call.cancel()

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
