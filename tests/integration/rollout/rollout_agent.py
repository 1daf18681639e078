"""A real metrics_svc and a publisher of which only the part is played that hears of rollouts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc

from bench.rollout_system import Operator, System
from lanecast.v1 import rollout_pb2 as pb

_METHOD = "/lanecast.v1.RolloutService/StreamAssignments"


class FakeAgent:
    """Confirms every generation at once, and keeps what it was told."""

    def __init__(self, target: str, policy: str) -> None:
        self._target = target
        self._policy = policy
        self.told: list[pb.StreamAssignmentsResponse] = []
        self._reports: asyncio.Queue[pb.StreamAssignmentsRequest] = asyncio.Queue(64)
        self.heard = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with grpc.aio.insecure_channel(self._target) as channel:
            method = channel.stream_stream(
                _METHOD,
                request_serializer=pb.StreamAssignmentsRequest.SerializeToString,
                response_deserializer=pb.StreamAssignmentsResponse.FromString,
            )
            call = method(self._sent())
            self._report(0)
            async for told in call:
                self.told.append(told)
                self._report(told.generation)
                self.heard.set()

    def _report(self, generation: int) -> None:
        report = pb.StreamAssignmentsRequest(
            agent="publisher-1", applied_generation=generation, policy=self._policy
        )  # fmt: skip
        self._reports.put_nowait(report)

    async def _sent(self) -> AsyncIterator[pb.StreamAssignmentsRequest]:
        while True:
            yield await self._reports.get()


@asynccontextmanager
async def metrics_with_agent(
    folder: Path, policy: str = "default"
) -> AsyncIterator[tuple[System, Operator, FakeAgent]]:
    """Run metrics_svc with one publisher that is connected to it."""
    system = System(folder, policy)
    operator = Operator(system.address("metrics"))
    agent = FakeAgent(system.address("metrics"), policy)
    task: asyncio.Task[None] | None = None
    try:
        await system.start("metrics")
        task = asyncio.create_task(agent.run())
        yield system, operator, agent
    finally:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await operator.close()
        await system.close()


async def started(operator: Operator, name: str) -> pb.Rollout:
    """Start a rollout as soon as the publisher is connected."""
    while True:
        try:
            return await operator.ask("start", name)
        except grpc.aio.AioRpcError as error:
            if "no publisher is connected" not in str(error.details()):
                raise
            await asyncio.sleep(0.01)
