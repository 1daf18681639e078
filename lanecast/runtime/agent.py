"""Answers operators' questions about this process: attaches it to metrics_svc and carries out what comes.

Owns the stream to metrics_svc and its return after a failure. What is answered is the service's own: it gives an object
with the questions' methods. Started by each service's `app` where a metrics target is set; delivery never waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import grpc

from lanecast.core.backoff import Backoff
from lanecast.internal.v1 import agent_pb2 as pb
from lanecast.runtime.grpc_server import CHANNEL_OPTIONS

log = logging.getLogger(__name__)
T = TypeVar("T")

_METHOD = "/lanecast.internal.v1.AgentService/Attach"
_MAX_AT_ONCE = 8
"""Questions worked on at a time; further ones wait on the stream."""


class Answerer(Protocol):
    """What a service can tell. A question it knows nothing of has an empty answer."""

    async def channels(self, question: pb.ChannelsQuestion) -> pb.ChannelsAnswer:
        """Return what is known of channels."""

    async def sessions(self, question: pb.SessionsQuestion) -> pb.SessionsAnswer:
        """Return open sessions, in the order of their ids."""

    async def disconnect(self, question: pb.DisconnectQuestion) -> pb.DisconnectAnswer:
        """Close a session where it is here."""


class Agent:
    """Stays attached to metrics_svc until closed."""

    def __init__(self, target: str, service: str, instance: str, answerer: Answerer) -> None:
        self._target = target
        self._hello = pb.AttachRequest(hello=pb.AgentHello(service=service, instance=instance))
        self._answerer = answerer
        self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to attach."""
        self._task = asyncio.create_task(self._stay_attached(), name="agent")

    async def close(self) -> None:
        """Detach. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._channel.close()

    async def _stay_attached(self) -> None:
        backoff, failing = Backoff(), False
        method: Any = self._channel.stream_stream(
            _METHOD,
            request_serializer=pb.AttachRequest.SerializeToString,
            response_deserializer=pb.AttachResponse.FromString,
        )
        while True:
            try:
                await self._serve(method(), backoff)
                failing = False
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                # grpc.aio says InvalidStateError where something is written to a call that has just ended.
                if not failing:
                    code = error.code() if isinstance(error, grpc.aio.AioRpcError) else "the stream ended"
                    log.info("operators cannot ask this process: %s does not take its agent (%s)", self._target, code)
                failing = True
            await asyncio.sleep(backoff.next_delay())

    async def _serve(self, call: Any, backoff: Backoff) -> None:
        working: set[asyncio.Task[None]] = set()
        try:
            await call.write(self._hello)
            while (question := await call.read()) is not grpc.aio.EOF:
                backoff.reset()
                if len(working) >= _MAX_AT_ONCE:
                    await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                working = {task for task in working if not task.done()}
                working.add(asyncio.create_task(self._answer(call, question), name="answer"))
            if (code := await call.code()) is not grpc.StatusCode.OK:
                log.debug("the agent's stream ended with %s", code)
        finally:
            call.cancel()
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _answer(self, call: Any, question: pb.AttachResponse) -> None:
        kind = question.WhichOneof("ask")
        answer = pb.AgentAnswer(question=question.question)
        try:
            if kind == "channels":
                answer.channels.CopyFrom(await self._answerer.channels(question.channels))
            elif kind == "sessions":
                answer.sessions.CopyFrom(await self._answerer.sessions(question.sessions))
            elif kind == "disconnect":
                answer.disconnect.CopyFrom(await self._answerer.disconnect(question.disconnect))
        except Exception:
            log.exception("a question of an operator could not be answered")
            return  # who asked names this process as one that did not answer
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reading side reports a broken stream
            await call.write(pb.AttachRequest(answer=answer))


async def in_turns(work: Generator[None, None, T]) -> T:
    """Carry out a generator to its result, letting the event loop do other work at each of its pauses."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
        await asyncio.sleep(0)
