"""Makes OpenTelemetry spans of what was noted, and exports them to the collector that the standard variables name.

Owns the bounded queue of noted spans and the task that hands them to a thread, which builds and sends them. Noting one
costs the event loop an append; where the queue is full, or the collector away, spans are dropped and counted. Started
by `telemetry`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, Tracer, set_span_in_context

from lanecast._version import __version__
from lanecast.core.instruments import Counter
from lanecast.core.spans import NotedSpan
from lanecast.runtime import environment
from lanecast.runtime.collector import waited

log = logging.getLogger(__name__)

MAX_QUEUE = 2_048
MAX_BATCH = 64
SCHEDULE_MILLIS = 5_000
_FULL_TURN_SECONDS = 1.0
"""The queue is emptied at most this often: building and sending a span costs some 50 µs of the interpreter, and
delivery goes first. So a process sends at most `MAX_QUEUE` spans a second."""
_LAST_EXPORT_SECONDS = 2.0
_LATE_LOG_SECONDS = 60
_SPANS_PER_TURN = 4
_TURN_SECONDS = 0.001
"""The thread stands back so often: while it computes, the event loop waits for the interpreter at each of its system
calls. Without this a queue full of spans held events up for a quarter of a second."""
_KINDS = {"consumer": SpanKind.CONSUMER, "producer": SpanKind.PRODUCER, "internal": SpanKind.INTERNAL}


class _Collected(SpanProcessor):
    """Keeps the spans that have ended; used by one thread at a time."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class SpanExport:
    """Takes noted spans and exports them until closed; a `lanecast.core.spans.SpanSink`."""

    def __init__(
        self,
        exporter: SpanExporter,
        resource: Resource,
        dropped: Counter,
        *,
        sampler: Sampler | None = None,
        max_queue: int = MAX_QUEUE,
        max_batch: int = MAX_BATCH,
        schedule_seconds: float = SCHEDULE_MILLIS / 1e3,
    ) -> None:
        self._exporter = exporter
        self._resource = resource
        self._dropped = dropped
        self._sampler = sampler
        self._queue: deque[NotedSpan] = deque()
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._schedule = schedule_seconds
        self._collected = _Collected()
        self._tracers: dict[tuple[str, bool], Tracer] = {}
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
        self._exporter.shutdown()  # ends a retry that is under way
        await asyncio.gather(last, return_exceptions=True)

    async def export(self) -> None:
        """Build and send what has been noted so far. One at a time: the tracers belong to the thread."""
        noted, self._queue = self._queue, deque()
        spans = list(noted)
        for begin in range(0, len(spans), self._max_batch):
            batch = spans[begin : begin + self._max_batch]
            self._dropped.add(await asyncio.to_thread(self._send, batch))

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

    # In the thread

    def _send(self, noted: Sequence[NotedSpan]) -> int:
        """Build and send spans; return how many did not arrive."""
        for number, each in enumerate(noted, 1):
            self._build(each)
            if number % _SPANS_PER_TURN == 0:
                time.sleep(_TURN_SECONDS)
        spans, self._collected.spans = self._collected.spans, []
        if not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS:
            return 0
        return len(spans)

    def _build(self, noted: NotedSpan) -> None:
        parent = None if not noted.parent else set_span_in_context(NonRecordingSpan(span_context(noted.parent)))
        span = self._tracer(noted.actor, noted.late).start_span(
            noted.name,
            context=parent,
            kind=_KINDS[noted.kind],
            attributes=noted.attributes,
            links=[Link(span_context(each)) for each in noted.links],
            start_time=noted.start_ns,
        )
        span.end(max(noted.start_ns, noted.end_ns))
        if noted.late:
            self._log_late(noted, span.get_span_context())

    def _log_late(self, noted: NotedSpan, context: SpanContext) -> None:
        """Say now and then that there are late events, with the trace of one; metrics count all of them."""
        if noted.end_ns < self._late_logged_ns + _LATE_LOG_SECONDS * 1_000_000_000:
            return
        self._late_logged_ns = noted.end_ns
        log.info(
            "an event of lane %s took %.1f ms, more than its limit; said at most every %d s",
            noted.attributes.get("lanecast.lane"),
            (noted.end_ns - noted.start_ns) / 1e6,
            _LATE_LOG_SECONDS,
            extra={"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"},
        )

    def _tracer(self, actor: str, late: bool) -> Tracer:
        found = self._tracers.get((actor, late))
        if found is None:
            resource = self._resource
            if actor:
                seen_by = str(resource.attributes.get(SERVICE_INSTANCE_ID, ""))
                own = {SERVICE_NAME: actor, SERVICE_INSTANCE_ID: f"seen-by-{seen_by}"}
                resource = resource.merge(Resource(own))
            provider = TracerProvider(
                sampler=ALWAYS_ON if late else self._sampler, resource=resource, shutdown_on_exit=False
            )
            provider.add_span_processor(self._collected)
            found = self._tracers[actor, late] = provider.get_tracer("lanecast", __version__)
        return found


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
        environment.span_exporter(),
        environment.resource(service, instance),
        dropped,
        sampler=sampler,
        max_queue=environment.number("OTEL_BSP_MAX_QUEUE_SIZE", MAX_QUEUE),
        max_batch=environment.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", MAX_BATCH),
        schedule_seconds=environment.number("OTEL_BSP_SCHEDULE_DELAY", SCHEDULE_MILLIS) / 1e3,
    )
