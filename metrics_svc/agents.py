"""The gateways and publishers that are attached, and questions to them.

Owns the streams of `AgentService` and the time a process has for an answer. Registered by `app`; asked by `admin`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import grpc

from lanecast.errors import StatusError
from lanecast.internal.v1 import agent_pb2 as pb
from metrics_svc.core.telemetry import Process

log = logging.getLogger(__name__)

FAILED_PRECONDITION, RESOURCE_EXHAUSTED, UNAVAILABLE = 9, 8, 14
"""Canonical gRPC codes."""
SERVICE = pb.DESCRIPTOR.services_by_name["AgentService"]
MAX_AGENTS = 256
ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What a question brought."""

    by_process: tuple[tuple[Process, pb.AgentAnswer], ...]
    unanswered: tuple[Process, ...]
    """Attached, but without an answer in time."""


class _Attached:
    """One stream."""

    def __init__(self, process: Process, context: Any) -> None:
        self.process = process
        self._context = context
        self._numbers = count(1)
        self._open: dict[int, asyncio.Future[pb.AgentAnswer]] = {}
        self._writing = asyncio.Lock()

    async def ask(self, question: pb.AttachResponse) -> pb.AgentAnswer | None:
        """Return the answer; None where it does not come in time."""
        number = next(self._numbers)
        own = pb.AttachResponse()
        own.CopyFrom(question)
        own.question = number
        future: asyncio.Future[pb.AgentAnswer] = asyncio.get_running_loop().create_future()
        self._open[number] = future
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async with self._writing:
                    await self._context.write(own)
                return await future
        except (TimeoutError, grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            return None
        except asyncio.CancelledError:
            if future.cancelled():  # by `close`: it is gone
                return None
            raise
        finally:
            del self._open[number]

    def take(self, answer: pb.AgentAnswer) -> None:
        """Hand over an answer; one that comes too late is dropped."""
        future = self._open.get(answer.question)
        if future is not None and not future.done():
            future.set_result(answer)

    def close(self) -> None:
        """End what waits for answers."""
        for future in self._open.values():
            future.cancel()


class Agents:
    """All attached processes; the servicer of `AgentService`."""

    def __init__(self) -> None:
        self._attached: dict[_Attached, None] = {}
        self._drained = asyncio.Event()

    @property
    def processes(self) -> tuple[Process, ...]:
        """Who is attached."""
        return tuple(each.process for each in self._attached)

    def drain(self) -> None:
        """Let go of everyone; they attach again to what comes next."""
        self._drained.set()

    async def ask(self, service: str, question: pb.AttachResponse) -> Answers:
        """Ask every attached process of a service."""
        asked = [each for each in self._attached if each.process.service == service]
        answers = await asyncio.gather(*(each.ask(question) for each in asked))
        came = tuple((each.process, answer) for each, answer in zip(asked, answers, strict=True) if answer is not None)
        missing = tuple(each.process for each, answer in zip(asked, answers, strict=True) if answer is None)
        return Answers(came, missing)

    async def Attach(self, requests: AsyncIterator[pb.AttachRequest], context: Any) -> None:  # noqa: N802
        """See the contract."""
        attached = _Attached(await _hello(requests), context)
        if len(self._attached) >= MAX_AGENTS or self._drained.is_set():
            message = f"{MAX_AGENTS} processes are attached already" if not self._drained.is_set() else "going away"
            raise StatusError(RESOURCE_EXHAUSTED, "TOO_MANY_AGENTS", message, retry_delay_seconds=5.0)
        self._attached[attached] = None
        log.info("%s is attached", attached.process.name)
        reading = asyncio.create_task(_read(attached, requests), name="agent-answers")
        drained = asyncio.create_task(self._drained.wait(), name="agent-drain")
        try:
            await asyncio.wait({reading, drained}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            del self._attached[attached]
            attached.close()
            for task in (reading, drained):
                task.cancel()
            await asyncio.gather(reading, drained, return_exceptions=True)
            log.info("%s is no longer attached", attached.process.name)


async def _read(attached: _Attached, requests: AsyncIterator[pb.AttachRequest]) -> None:
    async for request in requests:
        if request.WhichOneof("message") != "answer":
            raise StatusError(FAILED_PRECONDITION, "STREAM_ORDER", "the stream is open: send `answer`")
        attached.take(request.answer)


async def _hello(requests: AsyncIterator[pb.AttachRequest]) -> Process:
    async for request in requests:
        if request.WhichOneof("message") != "hello":
            break
        return Process(request.hello.service[:64], request.hello.instance[:64])
    message = "the first message of the stream must be `hello`: say which service and instance attaches"
    raise StatusError(FAILED_PRECONDITION, "STREAM_NOT_OPENED", message)


def names(processes: Sequence[Process]) -> list[str]:
    """Return the names of processes, in order."""
    return sorted(process.name for process in processes)
