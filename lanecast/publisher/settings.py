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
    health_seconds: float = 5.0
    """Seconds between two questions to the publisher whether it is alive. One that says nothing for twice as long is
    left."""
    return_seconds: float = 30.0
    """Seconds, on average, between two looks whether a target that comes before the present one in the list serves
    again, which is then returned to."""
    any_log: bool = False
    """True: the targets may have logs of their own. An event without an acknowledgement then goes to whichever answers,
    and may be stored once in each log. False: a target with another log is not used."""
