"""Composition root of publisher_svc.

Owns which parts there are and the order in which they start and stop. Called by `__main__`; decides nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from lanecast.ai.v1 import analytics_pb2, bots_pb2, concierge_pb2, strategy_pb2
from lanecast.core import exit_codes
from lanecast.core.instruments import EVENT_DROPPED, QUEUE_DEPTH, QUEUE_OLDEST_AGE, Instruments
from lanecast.core.policy import BUILT_IN
from lanecast.core.priority import LANES, Priority
from lanecast.errors import ConfigError
from lanecast.internal.v1.stream_pb2 import PublishEventStreamRequestView
from lanecast.runtime.agent import Agent
from lanecast.runtime.grpc_server import GrpcServer
from lanecast.runtime.telemetry import Telemetry
from lanecast.v1 import publisher_pb2 as pb
from publisher_svc.assignments import AssignmentAgent
from publisher_svc.config import PublisherConfig
from publisher_svc.core.activity import Activity
from publisher_svc.core.admission import LoadLimit
from publisher_svc.core.arms import Arms
from publisher_svc.core.expiry import Expiry
from publisher_svc.core.registry import RegistryError, TypeRegistry
from publisher_svc.core.tail import Tail
from publisher_svc.core.tracing import Tracing
from publisher_svc.hub import Hub
from publisher_svc.identity import Doorkeeper
from publisher_svc.ingest import Ingest
from publisher_svc.inspection import Inspection
from publisher_svc.log.base import LogError
from publisher_svc.log.choice import open_log
from publisher_svc.publish_service import PublishService
from publisher_svc.read_service import ReadService
from publisher_svc.reading import LogReader
from publisher_svc.stream_service import StreamService

log = logging.getLogger(__name__)

_PAYLOAD_FILES = (concierge_pb2, analytics_pb2, strategy_pb2, bots_pb2)


class PublisherServicer:
    """`lanecast.v1.PublisherService`: one method per rpc, each handed to the part that owns it."""

    def __init__(self, publish: PublishService, stream: StreamService, read: ReadService) -> None:
        self._publish = publish
        self._stream = stream
        self._read = read

    async def PublishEvents(self, request: pb.PublishEventsRequest, context: Any) -> pb.PublishEventsResponse:  # noqa: N802
        """See the contract."""
        return await self._publish.publish_events(request, context)

    async def PublishEventStream(self, requests: AsyncIterator[PublishEventStreamRequestView], context: Any) -> None:  # noqa: N802
        """See the contract."""
        await self._publish.publish_event_stream(requests, context)

    async def StreamEvents(self, requests: AsyncIterator[pb.StreamEventsRequest], context: Any) -> None:  # noqa: N802
        """See the contract."""
        await self._stream.stream_events(requests, context)

    async def ReadEvents(self, request: pb.ReadEventsRequest, _context: Any) -> pb.ReadEventsResponse:  # noqa: N802
        """See the contract."""
        return await self._read.read_events(request)

    async def ListEventTypes(self, request: pb.ListEventTypesRequest, _context: Any) -> pb.ListEventTypesResponse:  # noqa: N802
        """See the contract."""
        return self._read.list_event_types(request)


class PublisherApp:
    """A running publisher_svc; see `lanecast.runtime.lifecycle.Service`."""

    def __init__(
        self,
        config: PublisherConfig,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        if config.policy not in BUILT_IN:
            raise ConfigError(f"unknown delivery policy {config.policy!r}: use one of {', '.join(sorted(BUILT_IN))}")
        self._config = config
        self._end = end
        self._doorkeeper = Doorkeeper(config, clock)
        self._registry = load_registry(config.type_files)
        self._instruments = Instruments()
        self._server = GrpcServer()
        self._telemetry = Telemetry(self._instruments, "publisher", config.instance, config.metrics_target)
        self._agent: Agent | None = None
        self._assignments: AssignmentAgent | None = None

    async def start(self) -> dict[str, Any]:
        """Open the log, start to commit, serve. See `lifecycle.Service`."""
        config = self._config
        self._doorkeeper.prepare()
        self._log = await open_log(config, self._on_failure)
        hub, tail, arms = Hub(), Tail(config.tail_bytes), Arms(BUILT_IN[config.policy])
        activity = Activity()
        reader = LogReader(self._log, tail)
        self._ingest = Ingest(
            self._log, self._registry, hub, tail, self._instruments, LoadLimit(), arms, activity, self._on_failure
        )
        self._ingest.start()
        self._publish = PublishService(self._ingest, reader.epoch, self._doorkeeper, self._log.lineage.log_id)
        dropped = {lane: self._instruments.counter(EVENT_DROPPED, lane=lane.name, reason="expired") for lane in LANES}
        expiry = Expiry(time.monotonic_ns, time.time_ns, lambda lane, events: dropped[lane].add(events))
        self._stream = StreamService(hub, reader, self._ingest, self._registry.version, arms, expiry)
        self._inspection = Inspection(activity, reader, self._stream.lags)
        self._watch_queues()
        servicer = PublisherServicer(self._publish, self._stream, ReadService(reader, self._registry, expiry))
        views = {"PublishEventStream": PublishEventStreamRequestView}
        self._server.add(pb.DESCRIPTOR.services_by_name["PublisherService"], servicer, views)
        port = await self._server.start(config.host, config.port)
        if self._telemetry.spans is not None:
            self._ingest.tracing = Tracing(self._telemetry.spans)
        self._publish.start()
        self._inspection.start()
        if config.metrics_target:
            self._agent = Agent(config.metrics_target, "publisher_svc", config.instance, self._inspection)
            self._agent.start()
        self._telemetry.start()
        self._start_assignments(arms)
        await self._server.serving()
        return {"address": f"{config.host}:{port}", "epoch": reader.epoch, "instance": config.instance}

    def _watch_queues(self) -> None:
        instruments = self._instruments
        instruments.before_reading(lambda: self._stream.batches.move(instruments))
        for queue, queued in (("ingest", self._ingest.queued), ("stream", self._stream.queued)):
            for lane in LANES:
                names = {"queue": queue, "lane": lane.name}
                instruments.gauge(QUEUE_DEPTH, partial(_depth, queued, lane), **names)
                instruments.gauge(QUEUE_OLDEST_AGE, partial(_oldest_age, queued, lane), **names)

    async def drain(self) -> None:
        """Send subscribers elsewhere, answer what was submitted, close the log. See `lifecycle.Service`."""
        grace = self._config.drain_seconds
        await self._server.draining()
        self._publish.announce_drain(int(grace * 1000))
        self._stream.announce_drain(int(grace * 1000))
        if self._agent is not None:
            await self._agent.close()
        await self._inspection.close()
        stopping = asyncio.create_task(self._server.stop(grace), name="stop")  # refuses new calls from now on
        try:
            await asyncio.wait_for(self._publish.wait_empty(), grace)
        except TimeoutError:
            log.warning("publishing streams are still open after %g s: cutting them", grace)
        self._stream.finish()
        await stopping
        self._publish.close()
        await self._ingest.drain()
        if self._assignments is not None:
            await self._assignments.close()
        await self._telemetry.close()
        await self._log.close()

    def _on_failure(self, error: BaseException) -> None:
        """End at once: what is in the log is safe, and what is not acknowledged will be sent again."""
        trace = None if isinstance(error, LogError) else error  # a disk that failed is told in a sentence
        log.critical("the publisher ends, since it can acknowledge nothing any more: %s", error, exc_info=trace)
        self._end(exit_codes.FAILED)

    def _start_assignments(self, arms: Arms) -> None:
        config = self._config
        if config.metrics_target:
            self._assignments = AssignmentAgent(arms, config.metrics_target, config.instance, self._switch_arms)
            self._assignments.start()

    def _switch_arms(self) -> None:
        self._ingest.forget_heads()
        self._stream.switch()


Queued = Callable[[Priority], tuple[int, int]]


def _depth(queued: Queued, lane: Priority) -> float:
    return float(queued(lane)[0])


def _oldest_age(queued: Queued, lane: Priority) -> float:
    since = queued(lane)[1]
    return max(0, time.time_ns() - since) / 1e9 if since else 0.0


def load_registry(type_files: tuple[str, ...]) -> TypeRegistry:
    """Return the registry of the built-in payload types and those in descriptor set files.

    Raises:
        ConfigError: a file cannot be read or loaded.
    """
    registry = TypeRegistry()
    for module in _PAYLOAD_FILES:
        registry.add_file(module.DESCRIPTOR)
    for name in type_files:
        try:
            registry.load(descriptor_pb2.FileDescriptorSet.FromString(Path(name).read_bytes()))
        except OSError as error:
            raise ConfigError(f"cannot read the descriptor set {name}: {error.strerror}") from error
        except (DecodeError, RegistryError) as error:
            raise ConfigError(f"{name} is not a usable FileDescriptorSet: {error}") from error
    return registry
