"""Limits of a publisher's buffer.

Owns defaults and what they mean. Imports nothing but the lanes.
"""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.core.priority import Priority


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """Limits of an `Outbox`."""

    max_events: int = 10_000
    """Most events handed over and unanswered."""
    max_bytes: int = 16 * 1024 * 1024
    """Most bytes of such events."""
    delivery_seconds: float = 100.0
    """An event that is not acknowledged after this time fails."""
    high_linger_seconds: float = 0.001
    """Longest wait of HIGH events for company while earlier events are unanswered."""
    bulk_linger_seconds: float = 0.001
    """Longest wait of NORMAL and LOW events for company while earlier events are unanswered."""
    bulk_window_bytes: int = 256 * 1024
    """Most unanswered bytes in each of NORMAL and LOW."""
    message_bytes: dict[Priority, int] | None = None
    """Most bytes of a lane in one message; None: 128 KiB for CRITICAL and HIGH, 64 KiB for NORMAL and LOW."""
