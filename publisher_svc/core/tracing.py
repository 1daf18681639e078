"""The spans of the publisher: what was accepted and stored.

Owns their names and attributes, after the semantic conventions of messaging. Called by ingest once a commit is
dispatched, and only where spans are exported.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Protocol

from lanecast.core.priority import Priority
from lanecast.core.spans import SYSTEM, Attributes, NotedSpan, SpanSink, is_sampled
from lanecast.v1.event_pb2 import Event


class Entry(Protocol):
    """An event that went through a commit; see `publisher_svc.log.base.Entry`."""

    event_id: str
    data: bytes
    accept_ns: int
    offset: int
    duplicate: bool

    @property
    def channel(self) -> str:
        """Its channel."""

    @property
    def lane(self) -> Priority:
        """Its lane."""


class Tracing:
    """Notes spans of sampled events."""

    def __init__(self, sink: SpanSink) -> None:
        self._sink = sink

    def committed(self, members: Iterable[tuple[Entry, Event]], count: int, stored_ns: int) -> None:
        """Note a span for each sampled event of a commit, and one for the commit, with links to them."""
        sampled = [(entry, event) for entry, event in members if is_sampled(event.trace_context)]
        if not sampled:
            return
        for entry, event in sampled:
            attributes = partial(_of, entry, event, stored_ns)
            span = NotedSpan("receive", "consumer", entry.accept_ns, stored_ns, event.trace_context, attributes)
            self._sink.add(span)
        self._sink.add(
            NotedSpan(
                "commit",
                "internal",
                min(entry.accept_ns for entry, _ in sampled),
                stored_ns,
                attributes={
                    "messaging.system": SYSTEM,
                    "messaging.operation.name": "commit",
                    "messaging.operation.type": "receive",
                    "messaging.batch.message_count": count,
                },
                links=tuple(event.trace_context for _, event in sampled),
            )
        )


def _of(entry: Entry, event: Event, stored_ns: int) -> Attributes:
    attributes: Attributes = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
        "messaging.destination.name": entry.channel,
        "messaging.message.id": entry.event_id,
        "messaging.message.envelope.size": len(entry.data),
        "lanecast.lane": entry.lane.name,
        "lanecast.type": event.data.type_url.rpartition("/")[2],
        "lanecast.offset": entry.offset,
        "lanecast.duplicate": entry.duplicate,
        "lanecast.hop.log": (stored_ns - entry.accept_ns) / 1e9,
    }
    if event.send_time_unix_nano:
        attributes["lanecast.hop.ingest"] = (entry.accept_ns - event.send_time_unix_nano) / 1e9
    return attributes
