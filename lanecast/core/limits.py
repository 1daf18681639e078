"""Limits of the contracts that more than one part must agree on.

Owns the numbers; docs/limits.md lists them. Imports nothing.
"""

MAX_PAYLOAD_BYTES = 64 * 1024
"""Largest `Event.data.value`."""

MAX_EVENTS_PER_MESSAGE = 1_000
"""Most events in one publish message or request, and in one page of the log."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Largest gRPC message of any service."""

MAX_ID_BYTES = 64
"""Longest `Event.id`."""

MAX_SOURCE_BYTES = 128
"""Longest `Event.source`."""

MAX_KEY_BYTES = 64
"""Longest `Event.conflation_key`."""

TRACE_CONTEXT_BYTES = 25
"""Length of `Event.trace_context` where it is given."""

DEDUP_WINDOW_SECONDS = 120
"""How long, in log time, an id is remembered within its channel."""

PUBLISH_CREDIT_BYTES = 4 * 1024 * 1024
"""Bytes of unanswered events a publishing stream may have."""

BULK_BATCH_BYTES = 32 * 1024
"""Most event bytes in one message of a bulk stream: one parse cannot be sliced, so it must be short."""

BULK_BATCH_EVENTS = 64
"""Most events in one message of a bulk stream."""
