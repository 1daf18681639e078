"""Who is subscribed to what.

Owns the map from channels to subscribing streams. Ingest dispatches committed groups through it; stream handlers enter
and leave. Knows neither gRPC nor the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from lanecast.core.priority import Priority
from publisher_svc.core.group import Group


class Receiver(Protocol):
    """A subscribing stream, as far as dispatch needs it."""

    def offer(self, group: Group, now_ns: int) -> None:
        """Take a group of new events, at this time on the wall clock. Must not wait and must not fail."""


class Hub:
    """Passes new events to those who subscribed to their channel."""

    def __init__(self) -> None:
        self._receivers: dict[tuple[str, Priority], list[Receiver]] = {}

    def join(self, channel: str, lanes: Iterable[Priority], receiver: Receiver) -> None:
        """Send the events of some lanes of a channel to a receiver from now on."""
        for lane in lanes:
            receivers = self._receivers.setdefault((channel, lane), [])
            if receiver not in receivers:
                receivers.append(receiver)

    def leave(self, channel: str, lanes: Iterable[Priority], receiver: Receiver) -> None:
        """Send these events to a receiver no more."""
        for lane in lanes:
            receivers = self._receivers.get((channel, lane), [])
            if receiver in receivers:
                receivers.remove(receiver)
                if not receivers:
                    del self._receivers[channel, lane]

    def receivers(self, key: tuple[str, Priority]) -> Sequence[Receiver]:
        """Return who is subscribed to a channel and lane."""
        return self._receivers.get(key, ())
