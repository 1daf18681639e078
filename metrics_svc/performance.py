"""Performance tests on the running system, one at a time.

Owns the process that carries a test out, from its order to its end. A test ends when it is done, when its caller goes
away, or when the service drains; its process sees its standard input close and stops sending. Called by the gRPC and
HTTP shells.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self

import uuid_utils
from google.protobuf.json_format import Parse

from lanecast.core.priority import Priority
from lanecast.errors import StatusError
from lanecast.runtime import tokens
from lanecast.v1 import metrics_pb2
from metrics_svc import messages
from metrics_svc.core.objectives import Objectives
from metrics_svc.core.perf_plan import CHANNELS, PerfPlan
from metrics_svc.core.selection import invalid
from metrics_svc.perf_process import Order

log = logging.getLogger(__name__)

FAILED_PRECONDITION, INTERNAL, UNAVAILABLE = 9, 13, 14
"""Canonical gRPC codes."""
_GRACE_SECONDS = 5.0
_LINE_BYTES = 1024 * 1024
_SPARE_SECONDS = 60.0
"""How much longer than its plan a test may take, for connecting and settling."""
_ENVIRON = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONPATH", "VIRTUAL_ENV")


class PerformanceTests:
    """Runs tests."""

    def __init__(
        self, data_dir: Path, publisher_targets: Sequence[str], gateway_urls: Sequence[str], objectives: Objectives
    ) -> None:
        self._objectives = objectives
        self._data_dir = data_dir
        self._publisher_targets = tuple(publisher_targets)
        self._gateway_urls = tuple(gateway_urls)
        self._running = ""
        self._draining = asyncio.Event()

    @property
    def running(self) -> str:
        """Id of the test under way; empty where none is."""
        return self._running

    def drain(self) -> None:
        """End the test under way and take no more."""
        self._draining.set()

    async def run(
        self, request: metrics_pb2.RunPerformanceTestRequest, caller: str
    ) -> AsyncGenerator[metrics_pb2.RunPerformanceTestResponse, None]:
        """Carry out a test and yield its progress, then its result. Closing the iterator ends the test.

        Raises:
            StatusError: INVALID_ARGUMENT, FAILED_PRECONDITION where another test runs, UNAVAILABLE where the publisher
                or a gateway cannot be reached.
        """
        plan = plan_of(request)
        plan.check()
        if self._draining.is_set():
            raise StatusError(UNAVAILABLE, "DRAINING", "the service is going away: connect again in a moment")
        if self._running:
            message = f"the performance test {self._running} is running: wait for its end, or end it first"
            raise StatusError(FAILED_PRECONDITION, "PERF_TEST_RUNNING", message)
        test = self._running = uuid_utils.uuid7().hex[-12:]
        log.info("performance test %s for %s: %s", test, caller, plan)
        try:
            order = await self._order(test, plan)
            async with _Child(order) as child:
                async for response in child.responses(plan.seconds + _SPARE_SECONDS, self._draining):
                    yield response
        finally:
            self._running = ""
            log.info("performance test %s has ended", test)

    async def _order(self, test: str, plan: PerfPlan) -> Order:
        key = await asyncio.to_thread(tokens.load_or_create_key, self._data_dir)
        token = tokens.issue(
            key,
            [f"{CHANNELS}*"],
            subject="lanecast perf-test",
            ttl_seconds=plan.seconds + 2 * _SPARE_SECONDS,
            publish=[f"{CHANNELS}*"],
            rate=tokens.Rate(2.0 * plan.rate, 2 * plan.rate + 1000),
        )
        return Order(test, plan, self._publisher_targets, self._gateway_urls, token, self._objectives)


class _Child:
    """The process of one test; leaving the block ends it."""

    def __init__(self, order: Order) -> None:
        self._order = order

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "metrics_svc.perf_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _ENVIRON if name in os.environ},
            limit=_LINE_BYTES,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it has ended already: its exit says why
            self._process.stdin.write(self._order.to_json().encode() + b"\n")
            await self._process.stdin.drain()
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
        except TimeoutError:
            log.warning("the process of performance test %s does not end: it is killed", self._order.id)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def responses(
        self, seconds: float, draining: asyncio.Event
    ) -> AsyncIterator[metrics_pb2.RunPerformanceTestResponse]:
        """Yield what the process says, until its result.

        Raises:
            StatusError: it failed, or took too long.
        """
        assert self._process.stdout is not None
        drained = asyncio.create_task(draining.wait())
        try:
            async with asyncio.timeout(seconds):
                while line := await _line(self._process.stdout, drained):
                    response = _read(line)
                    yield response
                    if response.grade:
                        return
        except TimeoutError:
            raise StatusError(INTERNAL, "PERF_TEST_FAILED", "the performance test did not end in time") from None
        finally:
            drained.cancel()
        raise StatusError(INTERNAL, "PERF_TEST_FAILED", "the performance test failed; the service's log says more")


async def _line(stream: asyncio.StreamReader, drained: asyncio.Task[bool]) -> bytes:
    reading = asyncio.create_task(stream.readline())
    try:
        await asyncio.wait({reading, drained}, return_when=asyncio.FIRST_COMPLETED)
        if drained.done():
            raise StatusError(UNAVAILABLE, "DRAINING", "the service is going away: the performance test was ended")
        return reading.result()
    finally:
        reading.cancel()


def _read(line: bytes) -> metrics_pb2.RunPerformanceTestResponse:
    if line.startswith(b'{"failed"'):
        failed = json.loads(line)["failed"]
        raise StatusError(failed["code"], failed["reason"], failed["message"])
    return Parse(line, metrics_pb2.RunPerformanceTestResponse())


def plan_of(request: metrics_pb2.RunPerformanceTestRequest) -> PerfPlan:
    """Return the plan that a request asks for, not checked yet.

    Raises:
        StatusError: a lane of the mix is unknown.
    """
    default = PerfPlan()
    try:
        mix = tuple((Priority(share.lane), share.weight) for share in request.mix) or default.mix
    except ValueError as error:
        raise invalid("LANE_UNKNOWN", "mix has an unknown lane: use 1 to 4", "mix") from error
    return PerfPlan(
        rate=request.events_per_second or default.rate,
        seconds=messages.seconds(request.duration) if request.HasField("duration") else default.seconds,
        subscribers=request.subscribers or default.subscribers,
        mix=mix,
        payload_bytes=request.payload_bytes or default.payload_bytes,
    )


class PerformanceServicer:
    """The rpc of MetricsService about performance tests."""

    def __init__(self, tests: PerformanceTests) -> None:
        self._tests = tests

    async def RunPerformanceTest(  # noqa: N802
        self, request: metrics_pb2.RunPerformanceTestRequest, context: Any
    ) -> AsyncIterator[metrics_pb2.RunPerformanceTestResponse]:
        """See the contract."""
        async with contextlib.aclosing(self._tests.run(request, context.peer())) as responses:
            async for response in responses:
                yield response
