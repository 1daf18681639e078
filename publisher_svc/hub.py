"""Who is subscribed to what.

Owns the map from channels to subscribing streams. Ingest dispatches committed groups through it; stream handlers enter
and leave. Knows neither gRPC nor the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from publisher_svc.core.downstream import Group


class Receiver(Protocol):
    """A subscribing stream, as far as dispatch needs it."""

    def offer(self, group: Group) -> None:
        """Take a group of new events. Must not wait and must not fail."""


class Hub:
    """Passes new events to those who subscribed to their channel."""

    def __init__(self) -> None:
        self._receivers: dict[str, list[Receiver]] = {}

    def join(self, channel: str, receiver: Receiver) -> None:
        """Send the channel's events to a receiver from now on."""
        receivers = self._receivers.setdefault(channel, [])
        if receiver not in receivers:
            receivers.append(receiver)

    def leave(self, channel: str, receiver: Receiver) -> None:
        """Send the channel's events to a receiver no more."""
        receivers = self._receivers.get(channel, [])
        if receiver in receivers:
            receivers.remove(receiver)
            if not receivers:
                del self._receivers[channel]

    def wants(self, channel: str) -> bool:
        """Say whether anybody is subscribed to a channel."""
        return channel in self._receivers

    def dispatch(self, groups: Iterable[Group]) -> None:
        """Offer groups to the receivers of their channels."""
        for group in groups:
            for receiver in self._receivers.get(group.channel, ()):
                receiver.offer(group)

    @property
    def channels(self) -> int:
        """Number of channels with a receiver."""
        return len(self._receivers)
