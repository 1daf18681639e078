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

    def offer(self, groups: Sequence[Group], now_ns: int) -> None:
        """Take groups of new events in log order, at this time on the wall clock. Must not wait and must not fail."""


class Hub:
    """Passes new events to those who subscribed to their channel."""

    def __init__(self) -> None:
        self.subscribed: dict[tuple[str, Priority], tuple[Receiver, ...]] = {}
        """Who is subscribed to a channel and lane, where anybody is. To be read only: dispatch looks each event up.

        Where the same are subscribed to two of them it is mostly the same tuple, which `is` tells sooner than `==`.
        """
        self._sets: dict[tuple[Receiver, ...], tuple[Receiver, ...]] = {}

    def join(self, channel: str, lanes: Iterable[Priority], receiver: Receiver) -> None:
        """Send the events of some lanes of a channel to a receiver from now on."""
        for lane in lanes:
            receivers = self.subscribed.get((channel, lane), ())
            if receiver not in receivers:
                self._put((channel, lane), (*receivers, receiver))

    def leave(self, channel: str, lanes: Iterable[Priority], receiver: Receiver) -> None:
        """Send these events to a receiver no more."""
        for lane in lanes:
            receivers = self.subscribed.get((channel, lane), ())
            if receiver in receivers:
                self._put((channel, lane), tuple(each for each in receivers if each is not receiver))
        self._sets.clear()  # else they would keep streams that are no more

    def _put(self, key: tuple[str, Priority], receivers: tuple[Receiver, ...]) -> None:
        if receivers:
            self.subscribed[key] = self._sets.setdefault(receivers, receivers)
        else:
            self.subscribed.pop(key, None)

    def receivers(self, key: tuple[str, Priority]) -> Sequence[Receiver]:
        """Return who is subscribed to a channel and lane."""
        return self.subscribed.get(key, ())
