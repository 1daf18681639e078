"""Whether a publisher that one is connected to is still alive, and whether a better one is back.

Owns the questions to the health service (`grpc.health.v1`) and the judgement of its answers. Used by the SDKs and the
gateway beside their streams; opens no streams and ends none, but returns or raises when one should be left.

An open connection proves nothing: a process that is stopped, a machine that is gone or a half-open connection look like
silence, and silence is normal. So each client asks now and then. One that says nothing at all while it is asked is
given up. One that is merely slow to answer still sends events or acknowledgements, and is asked again: where several
answers in a row are missing, what we say does not reach it (a partition in one direction).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lanecast.errors import UnavailableError
from lanecast.runtime import tls
from lanecast.runtime.channels import open_channel

MIN_HEALTH_SECONDS = 0.1
"""Shortest interval between two questions."""

_UNANSWERED = 3
"""Questions in a row without an answer after which a publisher is given up that still sends something."""

_SILENT = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}


@dataclass(slots=True)
class Pulse:
    """Counts what came from a publisher; whoever reads from it adds to `beats`."""

    beats: int = 0


async def watch(channel: grpc.aio.Channel, target: str, pulse: Pulse, interval: float, *, has_choice: bool) -> None:
    """Ask a publisher for its health every `interval` seconds, for as long as it may be used.

    Raises:
        UnavailableError: nothing came from it for one to two intervals, although it was asked, or no answer for four;
            or, where there is a choice, it says that it does not serve.
    """
    unanswered = 0
    while True:
        if not unanswered:
            await asyncio.sleep(interval * random.uniform(0.9, 1.1))  # noqa: S311 - spreads the clients, no secret
        beats = pulse.beats
        serving = await _ask(channel, interval)
        unanswered = unanswered + 1 if serving is None else 0
        if serving is None and (pulse.beats == beats or unanswered == _UNANSWERED):
            raise UnavailableError(f"{target} has not answered for {interval * unanswered:g} s")
        if serving is False and has_choice:
            raise UnavailableError(f"{target} says that it does not serve at present")


async def preferred_is_back(targets: Sequence[str], seconds: float, own: tls.TlsConfig | None = None) -> str:
    """Return the first of `targets` that serves, looked at every `seconds` or so; never where there is none."""
    while True:
        # Unlike delays: else all who left a publisher came back to it in the same moment.
        await asyncio.sleep(seconds * random.uniform(0.5, 1.5) if targets else 3600.0)  # noqa: S311
        for target in targets:
            if await is_serving(target, min(seconds, 5.0), own):
                return target


async def is_serving(target: str, seconds: float, own: tls.TlsConfig | None = None) -> bool:
    """Say whether a service answers its health check with SERVING."""
    async with open_channel(target, own) as channel:
        return bool(await _ask(channel, seconds))


async def _ask(channel: grpc.aio.Channel, seconds: float) -> bool | None:
    """Return whether a service serves; None where it does not answer."""
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its methods are made at run time
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=seconds)
    except grpc.aio.AioRpcError as error:
        # Any other answer is one: the service is there, and knows nothing of health checks.
        return None if error.code() in _SILENT else True
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
