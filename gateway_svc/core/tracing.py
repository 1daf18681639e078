"""The spans of the gateway, and of the browsers behind it.

Owns their names and attributes, after the semantic conventions of messaging, which events have any, and what is kept to
recognise the receipts for them. Called by the meter after the frames have left, and only where spans are exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from gateway_svc.core.items import EventItem
from gateway_svc.core.route import Route
from lanecast.core.policy import BUILT_IN, DEFAULT
from lanecast.core.priority import Priority
from lanecast.core.spans import SYSTEM, Allowance, Attributes, NotedSpan, SpanSink, is_sampled
from lanecast.v1.event_pb2 import Event
from lanecast.v1.gateway_pb2 import ReceiptSample

BROWSER = "lanecast-browser"
"""`service.name` of the spans that the gateway makes of receipts."""

LATE_PER_SECOND = 5
"""Spans of events that were late and not sampled: under overload all are."""

BROWSER_PER_SECOND = 200

MAX_REMEMBERED = 10_000
"""Deliveries whose receipts are waited for; those of the oldest are no longer recognised."""


@dataclass(slots=True)
class _Sent:
    """A sampled event that browsers got."""

    context: bytes
    lane: Priority
    event_id: str
    type: str
    channel: str
    send_ns: int
    receipts: int
    """How many more are taken: one for each socket."""


class Tracing:
    """Notes spans of sampled and of late events."""

    def __init__(self, sink: SpanSink) -> None:
        self._sink = sink
        self._late = Allowance(LATE_PER_SECOND)
        self._browsers = Allowance(BROWSER_PER_SECOND)
        self._sent: dict[tuple[bytes, int], _Sent] = {}

    def delivered(self, item: EventItem, sockets: int, end_ns: int) -> None:
        """Note the spans of a batch whose last byte the kernel has taken at `end_ns`."""
        batch = item.batch
        sampled = [event for event in batch.events if is_sampled(event.trace_context)]
        for event in sampled:
            span = NotedSpan("deliver", "producer", item.receive_ns or item.send_ns, end_ns, event.trace_context)
            span.attributes = partial(_attributes, item, event, sockets, end_ns)
            self._sink.add(span)
            self._remember(item, event, sockets)
        if sampled:
            self._sink.add(_batch_span(item, sampled, sockets, end_ns))
        if not batch.replayed:
            self._note_late(item, sockets, end_ns, _limit_ns(batch.policy, item.lane))

    def wants(self, route: Route, context: bytes, age_ns: int) -> bool:
        """Say whether `delivered` would note anything of an event with this context that was so old when it left."""
        if is_sampled(context):
            return True
        limit_ns = route.limit_ns
        if limit_ns is None:
            limit_ns = route.limit_ns = _limit_ns(route.policy, route.lane)
        return age_ns > limit_ns

    def receipt(self, sample: ReceiptSample, last_mile_micros: int) -> None:
        """Note the span of a browser, if it is about an event that was sent to one and is sampled."""
        key = (sample.trace_context, sample.offset)
        sent = self._sent.get(key)
        if sent is None or not sent.receipts:
            return
        sent.receipts -= 1
        if not sent.receipts:
            del self._sent[key]
        end_ns = sent.send_ns + last_mile_micros * 1000
        if not self._browsers.take(end_ns):
            return
        span = NotedSpan("process", "consumer", sent.send_ns, end_ns, sent.context, actor=BROWSER)
        span.attributes = {
            **_named("process", sent.channel, sent.event_id),
            "lanecast.lane": sent.lane.name,
            "lanecast.type": sent.type,
            "lanecast.hop.last_mile": last_mile_micros / 1e6,
            "lanecast.clock.error_bound": sample.uncertainty_micros / 1e6,
        }
        self._sink.add(span)

    def _remember(self, item: EventItem, event: Event, sockets: int) -> None:
        key = (event.trace_context, event.offset)
        known = self._sent.get(key)
        if known is not None:
            known.receipts += sockets
            return
        while len(self._sent) >= MAX_REMEMBERED:
            del self._sent[next(iter(self._sent))]
        type_name = event.data.type_url.rpartition("/")[2]
        self._sent[key] = _Sent(
            event.trace_context, item.lane, event.id, type_name, item.channel, item.send_ns, sockets
        )

    def _note_late(self, item: EventItem, sockets: int, end_ns: int, limit_ns: int) -> None:
        events = item.batch.events
        if end_ns - events[0].accept_time_unix_nano <= limit_ns:
            return  # the first was accepted first
        for event in events:
            accepted = event.accept_time_unix_nano
            context = event.trace_context
            if end_ns - accepted <= limit_ns or is_sampled(context) or not accepted:
                continue
            if not self._late.take(end_ns):
                return
            span = NotedSpan("deliver", "producer", accepted, end_ns, late=True)
            span.attributes = partial(_late_attributes, item, event, sockets, end_ns)
            if any(context):  # whoever began that trace does not record it: this is a trace of its own, beside it
                span.links = (context,)
            self._sink.add(span)


def _limit_ns(policy: str, lane: Priority) -> int:
    return int(BUILT_IN.get(policy, DEFAULT).lanes[lane].limit_seconds * 1e9)


def _batch_span(item: EventItem, sampled: Sequence[Event], sockets: int, end_ns: int) -> NotedSpan:
    span = NotedSpan("deliver batch", "producer", item.receive_ns or item.send_ns, end_ns)
    span.attributes = partial(_batch_attributes, item, sockets)
    span.links = tuple(event.trace_context for event in sampled)
    return span


def _batch_attributes(item: EventItem, sockets: int) -> Attributes:
    return {
        **_named("deliver", item.channel),
        "messaging.batch.message_count": item.count,
        "lanecast.lane": item.lane.name,
        "lanecast.policy": item.batch.policy,
        "lanecast.sockets": sockets,
    }


def _late_attributes(item: EventItem, event: Event, sockets: int, end_ns: int) -> Attributes:
    return {**_attributes(item, event, sockets, end_ns), "lanecast.late": True}


def _attributes(item: EventItem, event: Event, sockets: int, end_ns: int) -> Attributes:
    return {
        **_named("deliver", item.channel, event.id),
        "lanecast.lane": item.lane.name,
        "lanecast.type": event.data.type_url.rpartition("/")[2],
        "lanecast.offset": event.offset,
        "lanecast.sockets": sockets,
        "lanecast.replayed": item.batch.replayed,
        **{f"lanecast.hop.{name}": nanos / 1e9 for name, nanos in hops(item, event, end_ns).items()},
    }


def _named(operation: str, channel: str, event_id: str = "") -> Attributes:
    named: Attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": "process" if operation == "process" else "send",
        "messaging.destination.name": channel,
    }
    if event_id:
        named["messaging.message.id"] = event_id
    return named


def hops(item: EventItem, event: Event, end_ns: int) -> dict[str, int]:
    """Return the duration of each hop whose two stamps are known, in nanoseconds. They add up to the whole way."""
    stamps = (
        event.create_time_unix_nano,
        event.send_time_unix_nano,
        event.accept_time_unix_nano,
        event.store_time_unix_nano,
        item.batch.flush_time_unix_nano,
        item.receive_ns,
        item.send_ns,
        end_ns,
    )
    return {name: stamps[at + 1] - stamps[at] for at, name in enumerate(_HOPS) if stamps[at] and stamps[at + 1]}


_HOPS = ("sdk_queue", "ingest", "log", "lane_wait", "transit", "edge_wait", "socket_write")
