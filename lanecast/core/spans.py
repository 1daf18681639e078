"""Spans as they are noted on the way of an event, before anything is built from them.

Owns the form of a trace context in an event and of a noted span, and how many may be noted. Hops stamp times; whoever
has the stamps in hand notes spans afterwards, and only for events that are sampled or late. `lanecast.runtime.traces`
makes OpenTelemetry spans of them, in a thread. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lanecast.core.limits import TRACE_CONTEXT_BYTES

SAMPLED = 1
"""The flag of W3C Trace Context that says: whoever began this trace records it."""

SYSTEM = "lanecast"
"""Value of `messaging.system`."""

AttributeValue = str | int | float | bool
Attributes = dict[str, AttributeValue]


def is_sampled(context: bytes) -> bool:
    """Say whether the trace of an event is recorded; False where there is none."""
    return len(context) == TRACE_CONTEXT_BYTES and bool(context[-1] & SAMPLED) and any(context[:16])


def traceparent(context: bytes) -> str:
    """Return a trace context as the header of W3C Trace Context."""
    return f"00-{context[:16].hex()}-{context[16:24].hex()}-{context[24]:02x}"


@dataclass(slots=True)
class NotedSpan:
    """What is known of a span once it is over."""

    name: str
    kind: str
    """`consumer`, `producer` or `internal`."""
    start_ns: int
    end_ns: int
    parent: bytes = b""
    """Trace context; empty: the span begins a trace of its own."""
    attributes: Attributes | Callable[[], Attributes] = field(default_factory=dict)
    """Or a function that returns them: called when the span is built, since the way of an event is no time for it."""
    links: tuple[bytes, ...] = ()
    """Trace contexts."""
    actor: str = ""
    """Who did it, where it was not this process: the `service.name` of the resource."""
    late: bool = False
    """True where the span exists only since the event was late: no sampler was asked."""

    def known_attributes(self) -> Attributes:
        """Return the attributes, made now where that was put off."""
        if callable(self.attributes):
            self.attributes = self.attributes()
        return self.attributes


class SpanSink(Protocol):
    """Where noted spans go."""

    def add(self, span: NotedSpan) -> None:
        """Keep a span, or count it as dropped. Must not wait and must not fail."""


class Allowance:
    """So many a second, and as many at once."""

    __slots__ = ("_left", "_rate", "_seen_ns")

    def __init__(self, per_second: int) -> None:
        self._rate = per_second
        self._left = float(per_second)
        self._seen_ns = 0

    def take(self, now_ns: int) -> bool:
        """Say whether one more may be had at `now_ns`, by any clock that goes forward."""
        passed, self._seen_ns = max(0, now_ns - self._seen_ns), max(now_ns, self._seen_ns)
        self._left = min(float(self._rate), self._left + passed / 1e9 * self._rate)
        if self._left < 1:
            return False
        self._left -= 1
        return True
