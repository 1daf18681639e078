"""Settings of a publisher.

Owns defaults and what they mean. Imports nothing but the settings of the buffer.
"""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.publisher.core.settings import OutboxSettings


@dataclass(frozen=True, slots=True)
class PublisherSettings(OutboxSettings):
    """Settings of a publisher: those of its buffer, and of its connection."""

    connect_timeout: float = 5.0
    """Seconds until entering the `with` block fails where no target answers; also the limit of each later attempt."""
    close_timeout: float = 10.0
    """Seconds that leaving the `with` block waits for outstanding acknowledgements."""
