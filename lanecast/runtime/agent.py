"""Answers operators' questions about this process: attaches it to metrics_svc and carries out what comes.

Owns what is said on the stream to metrics_svc. What is answered is the service's own: it gives an object with the
questions' methods. Started by each service's `app` where a metrics target is set; delivery never waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import grpc

from lanecast.internal.v1 import agent_pb2 as pb
from lanecast.runtime.standing import StandingStream

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
        self._hello = pb.AttachRequest(hello=pb.AgentHello(service=service, instance=instance))
        self._answerer = answerer
        self._stream = StandingStream(
            target, _METHOD, pb.AttachRequest, pb.AttachResponse, self._serve, lost="operators cannot ask this process"
        )

    def start(self) -> None:
        """Begin to attach."""
        self._stream.start()

    async def close(self) -> None:
        """Detach. Idempotent."""
        await self._stream.close()

    async def _serve(self, attach: Any, alive: Callable[[], None]) -> None:
        call: Any = attach()
        working: set[asyncio.Task[None]] = set()
        try:
            await call.write(self._hello)
            while (question := await call.read()) is not grpc.aio.EOF:
                alive()
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
