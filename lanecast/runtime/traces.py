"""Makes OpenTelemetry spans of what was noted, and exports them to the collector that the standard variables name.

Owns the bounded queue of noted spans and the task that builds them, a few at a time between events, and has a thread
send them. Noting one costs the event loop an append; where the queue is full, or the collector away, spans are dropped
and counted. Started by `telemetry`.

They are built on the event loop, and not in the thread: while a thread computes, the loop has to wait for the
interpreter after each of its system calls, which held events up for a quarter of a second.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence

from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, ParentBased, Sampler
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context

from lanecast._version import __version__
from lanecast.core import span_wire
from lanecast.core.instruments import Counter
from lanecast.core.spans import NotedSpan
from lanecast.runtime import environment, otlp
from lanecast.runtime.collector import waited
from lanecast.runtime.environment import SpanSender

log = logging.getLogger(__name__)

MAX_QUEUE = 2_048
MAX_BATCH = 64
SCHEDULE_MILLIS = 5_000
_FULL_TURN_SECONDS = 1.0
"""The queue is emptied at most this often: building a span costs some 10 µs, sending it as much, and delivery goes
first. So a process sends at most `MAX_QUEUE` spans a second."""
_LAST_EXPORT_SECONDS = 2.0
_LATE_LOG_SECONDS = 60
_SPANS_PER_TURN = 8
"""Spans that are built before the loop may do something else, about 0.1 ms."""
_KINDS = {"consumer": SpanKind.CONSUMER, "producer": SpanKind.PRODUCER, "internal": SpanKind.INTERNAL}
_SCOPE = common_pb2.InstrumentationScope(name="lanecast", version=__version__).SerializeToString()


class SpanExport:
    """Takes noted spans and exports them until closed; a `lanecast.core.spans.SpanSink`."""

    def __init__(
        self,
        sender: SpanSender,
        resource: Resource,
        dropped: Counter,
        *,
        sampler: Sampler,
        max_queue: int = MAX_QUEUE,
        max_batch: int = MAX_BATCH,
        schedule_seconds: float = SCHEDULE_MILLIS / 1e3,
    ) -> None:
        self._sender = sender
        self._resource = resource
        self._dropped = dropped
        self._sampler = sampler
        self._wants_all = sampler is ALWAYS_ON
        self._wants_sampled = type(sampler) is ParentBased and sampler._remote_parent_sampled is ALWAYS_ON  # noqa: SLF001
        self._queue: deque[NotedSpan] = deque()
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._schedule = schedule_seconds
        self._resources: dict[str, bytes] = {}
        """Encoded, by actor."""
        self._enough = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._closed = False
        self._late_logged_ns = 0

    def add(self, span: NotedSpan) -> None:
        """See `SpanSink.add`."""
        if len(self._queue) >= self._max_queue or self._closed:
            self._dropped.add()
            return
        self._queue.append(span)
        if len(self._queue) == self._max_batch:
            self._enough.set()

    def start(self) -> None:
        """Begin to export in the background."""
        self._task = asyncio.create_task(self._loop(), name="span-export")

    async def close(self) -> None:
        """Export what is left and stop. Idempotent."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._enough.set()
        last = self._task or asyncio.create_task(self.export(), name="last-span-export")
        await asyncio.wait((last,), timeout=_LAST_EXPORT_SECONDS)
        self._closed = True
        self._sender.shutdown()  # ends a retry that is under way
        await asyncio.gather(last, return_exceptions=True)

    async def export(self) -> None:
        """Build and send what has been noted so far."""
        noted, self._queue = self._queue, deque()
        while noted:
            batch = [noted.popleft() for _ in range(min(len(noted), self._max_batch))]
            for request, spans in await self._requests(batch):
                if not await asyncio.to_thread(self._sender.send, request, spans):
                    self._dropped.add(spans)

    async def _loop(self) -> None:
        while not await waited(self._stop, _FULL_TURN_SECONDS):
            await waited(self._enough, max(0.001, self._schedule - _FULL_TURN_SECONDS))
            self._enough.clear()
            await self._try()
        await self._try()

    async def _try(self) -> None:
        try:
            await self.export()
        except Exception:
            log.exception("unexpected failure while exporting spans")

    async def _requests(self, batch: Sequence[NotedSpan]) -> list[tuple[bytes, int]]:
        """Return one request for each resource, with the number of its spans; events go first meanwhile."""
        by_actor: dict[str, list[bytes]] = {}
        for number, noted in enumerate(batch, 1):
            built = self._built(noted)
            if built is not None:
                by_actor.setdefault(noted.actor, []).append(built)
            if number % _SPANS_PER_TURN == 0:
                await asyncio.sleep(0)
        return [
            (span_wire.request(self._encoded_resource(actor), _SCOPE, spans), len(spans))
            for actor, spans in by_actor.items()
        ]

    def _built(self, noted: NotedSpan) -> bytes | None:
        """Return an encoded span; None where the sampler does not want it."""
        trace_id = noted.parent[:16] or random.randbytes(16)  # noqa: S311 - no secret
        if not noted.late and not self._wanted(noted, trace_id):
            return None
        span_id = random.randbytes(8)  # noqa: S311 - no secret
        if noted.late:
            self._log_late(noted, trace_id, span_id)
        return span_wire.span(noted, trace_id, span_id)

    def _wanted(self, noted: NotedSpan, trace_id: bytes) -> bool:
        if self._wants_all or (noted.parent and self._wants_sampled):
            return True
        parent = None if not noted.parent else set_span_in_context(NonRecordingSpan(span_context(noted.parent)))
        decided = self._sampler.should_sample(
            parent,
            int.from_bytes(trace_id),
            noted.name,
            _KINDS[noted.kind],
            noted.known_attributes(),
            [Link(span_context(each)) for each in noted.links],
        )
        return decided.decision is Decision.RECORD_AND_SAMPLE

    def _encoded_resource(self, actor: str) -> bytes:
        found = self._resources.get(actor)
        if found is None:
            resource = self._resource
            if actor:
                seen_by = str(resource.attributes.get(SERVICE_INSTANCE_ID, ""))
                own = {SERVICE_NAME: actor, SERVICE_INSTANCE_ID: f"seen-by-{seen_by}"}
                resource = resource.merge(Resource(own))
            found = self._resources[actor] = otlp.encoded(resource.attributes).SerializeToString()
        return found

    def _log_late(self, noted: NotedSpan, trace_id: bytes, span_id: bytes) -> None:
        """Say now and then that there are late events, with the trace of one; metrics count all of them."""
        if noted.end_ns < self._late_logged_ns + _LATE_LOG_SECONDS * 1_000_000_000:
            return
        self._late_logged_ns = noted.end_ns
        log.info(
            "an event of lane %s took %.1f ms, more than its limit; said at most every %d s",
            noted.known_attributes().get("lanecast.lane"),
            (noted.end_ns - noted.start_ns) / 1e6,
            _LATE_LOG_SECONDS,
            extra={"trace_id": trace_id.hex(), "span_id": span_id.hex()},
        )


def span_context(context: bytes) -> SpanContext:
    """Return the 25 bytes of an event as a context of another process."""
    flags = TraceFlags(context[24])
    return SpanContext(int.from_bytes(context[:16]), int.from_bytes(context[16:24]), is_remote=True, trace_flags=flags)


def span_export(dropped: Counter, service: str, instance: str) -> SpanExport | None:
    """Return the exporter that the variables ask for; None where they name no collector, or no span is ever sampled.

    Raises:
        ConfigError: a variable cannot be used.
    """
    if not environment.exports("TRACES"):
        return None
    sampler = TracerProvider(shutdown_on_exit=False).sampler  # as OTEL_TRACES_SAMPLER says
    if sampler is ALWAYS_OFF or (isinstance(sampler, ParentBased) and sampler._root is ALWAYS_OFF):  # noqa: SLF001
        return None
    return SpanExport(
        environment.span_sender(),
        environment.resource(service, instance),
        dropped,
        sampler=sampler,
        max_queue=environment.number("OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE),
        max_batch=environment.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MAX_BATCH),
        schedule_seconds=environment.number("OTEL_BSP_SCHEDULE_DELAY", SCHEDULE_MILLIS) / 1e3,
    )
