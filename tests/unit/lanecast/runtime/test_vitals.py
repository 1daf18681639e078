"""When a publisher is given up: by real health checks, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lanecast.errors import UnavailableError
from lanecast.runtime.vitals import Pulse, watch

INTERVAL = 0.1


class Health(health_pb2_grpc.HealthServicer):
    """A health service that leaves questions without an answer."""

    def __init__(self, answers: list[bool]) -> None:
        self.answers = answers
        """Whether each of the first questions is answered; later ones are not."""
        self.asked = 0

    async def Check(self, request: object, context: object) -> Any:  # noqa: N802
        self.asked += 1
        if not (self.answers and self.answers.pop(0)):
            await asyncio.Event().wait()
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def serving(health: Health) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(0)


async def beat(pulse: Pulse) -> None:
    """Let something come from the publisher all the time."""
    while True:
        pulse.beats += 1
        await asyncio.sleep(INTERVAL / 20)


async def test_silence_is_given_up_after_one_question() -> None:
    health = Health([])
    async with serving(health) as channel:
        with pytest.raises(UnavailableError, match=r"has not answered for 0\.1 s"):
            await watch(channel, "here", Pulse(), INTERVAL, has_choice=False)
    assert health.asked == 1


async def test_events_that_come_do_not_make_up_for_answers_that_never_do() -> None:
    health, pulse = Health([]), Pulse()
    async with serving(health) as channel, asyncio.TaskGroup() as group:
        heart = group.create_task(beat(pulse))
        with pytest.raises(UnavailableError, match=r"has not answered for 0\.3 s"):
            await watch(channel, "here", pulse, INTERVAL, has_choice=False)
        heart.cancel()
    assert health.asked == 3


async def test_a_publisher_that_answers_now_and_then_is_merely_slow() -> None:
    health, pulse = Health([False, False, True, False, False, True]), Pulse()
    async with serving(health) as channel, asyncio.TaskGroup() as group:
        heart = group.create_task(beat(pulse))
        with pytest.raises(UnavailableError):
            await watch(channel, "here", pulse, INTERVAL, has_choice=False)
        heart.cancel()
    assert health.asked == 9
