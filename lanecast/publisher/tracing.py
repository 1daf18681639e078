"""The trace context of an event: that of the span in which it is published.

Owns how it is found. A program that does not use OpenTelemetry pays for a look into a dictionary, and nothing is
imported. Used by the publishers.
"""

from __future__ import annotations

import sys

TRACE_API = "opentelemetry.trace"
"""The module that a program which traces has imported."""


def current_context() -> bytes:
    """Return the current span's context in the 25 bytes of `Event.trace_context`; empty where there is none."""
    if TRACE_API not in sys.modules:
        return b""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return b""
    return context.trace_id.to_bytes(16) + context.span_id.to_bytes(8) + bytes((context.trace_flags,))
