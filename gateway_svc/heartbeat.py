"""The one timer of the gateway.

Owns when the schedule is looked at: pings, hello deadlines, token ends, overdue handshakes and closes, and what the hub
has to do in time. Started and closed by `app`; decides nothing itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from gateway_svc.core.heartbeat import Wheel
from gateway_svc.core.hub import Hub
from gateway_svc.core.session import Session
from gateway_svc.edge import Edge
from lanecast.core import codes

TICK_SECONDS = 0.25
_SLICE_NS = 250_000
"""How long pings may be sent before the loop looks at its sockets again."""


class Heartbeat:
    """Ticks until closed."""

    def __init__(self, wheel: Wheel, hub: Hub, edge: Edge) -> None:
        self._wheel = wheel
        self._hub = hub
        self._edge = edge
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick."""
        self._task = asyncio.create_task(self._run(), name="heartbeat")

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        due = time.monotonic_ns()
        while True:
            due = max(due + int(TICK_SECONDS * 1e9), time.monotonic_ns())
            await asyncio.sleep((due - time.monotonic_ns()) / 1e9)
            await self._tick()

    async def _tick(self) -> None:
        now = time.monotonic()
        self._hub.tick(now)
        self._edge.sweep(now)
        for session in self._wheel.silent(now):
            session.end(codes.UNAUTHENTICATED, "no hello came within 5 s of connecting")
            self._wheel.closed(session)
        for session in self._wheel.expired(time.time()):
            session.end(codes.TOKEN_EXPIRED)
        await self._ping(self._wheel.due())

    async def _ping(self, sessions: Iterable[Session]) -> None:
        began = time.monotonic_ns()
        for session in sessions:
            if not session.closed:
                session.heartbeat()
            if time.monotonic_ns() - began > _SLICE_NS:
                await asyncio.sleep(0)
                began = time.monotonic_ns()
