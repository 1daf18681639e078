"""A stream to metrics_svc that stands as long as the process: where it ends, it is opened again.

Owns the channel, the task, and the waits between tries. What is said on the stream is its user's. Used by `agent` and
by the publisher's assignments of rollouts; delivery never waits for either.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from lanecast.core.backoff import Backoff
from lanecast.runtime import tls
from lanecast.runtime.channels import CHANNEL_OPTIONS

log = logging.getLogger(__name__)

Serve = Callable[[Any, Callable[[], None]], Awaitable[None]]
"""Opens a call of the method it is given, calls the function for each sign of life, and returns when the call ends."""


class StandingStream:
    """Calls one method again and again until closed."""

    def __init__(
        self, target: str, method: str, request: type[Message], response: type[Message], serve: Serve, *, lost: str
    ) -> None:
        """Make a stream that is not open yet.

        Args:
            target: the metrics service as `host:port`.
            method: full name of the rpc, `/package.Service/Method`.
            request: what is sent.
            response: what comes.
            serve: what is said on the stream, once for each time it is opened.
            lost: what does not work while there is no stream, as the begin of a sentence for the log.
        """
        self._target = target
        self._serve = serve
        self._lost = lost
        self._channel = tls.open_channel(target, CHANNEL_OPTIONS)
        self._method: Any = self._channel.stream_stream(
            method, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        self._backoff = Backoff()
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self._stay_open(), name=f"standing-{self._target}")

    async def close(self) -> None:
        """End the stream. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._channel.close()

    async def _stay_open(self) -> None:
        while True:
            try:
                await self._serve(self._method, self._alive)
                self._failing = False
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                # grpc.aio says InvalidStateError where something is written to a call that has just ended.
                self._report(error)
            await asyncio.sleep(self._backoff.next_delay())

    def _alive(self) -> None:
        self._backoff.reset()
        self._failing = False

    def _report(self, error: Exception) -> None:
        """Say once for each outage that the stream cannot be had."""
        if not self._failing:
            code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else "the stream ended"
            log.info("%s: no stream to the metrics service at %s (%s)", self._lost, self._target, code)
        self._failing = True
