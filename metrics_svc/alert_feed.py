"""Tells watchers of changes of alerts.

Owns what each watcher has not yet seen. That is the last state of each alert, so a slow watcher costs no more memory
than there are alerts. Fed by `watch`; read by the gRPC and HTTP streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from metrics_svc.core.alerts import Alert
from metrics_svc.streams import Streams


class Watcher:
    """What one watcher has not yet seen."""

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self._changed = asyncio.Event()
        self._alerts: dict[str, Alert] = {}
        self.tell(alerts)

    def tell(self, alerts: Iterable[Alert]) -> None:
        """Add changes."""
        for alert in alerts:
            self._alerts.pop(alert.id, None)
            self._alerts[alert.id] = alert
            self._changed.set()

    @property
    def pending(self) -> bool:
        """Whether there are changes to `take`."""
        return bool(self._alerts)

    def take(self) -> list[Alert]:
        """Return what has changed since the last call."""
        self._changed.clear()
        alerts, self._alerts = self._alerts, {}
        return list(alerts.values())

    async def pause(self, streams: Streams, seconds: float) -> bool:
        """Wait for a change, for so many seconds at most; say whether the stream shall go on."""
        waits = [asyncio.create_task(self._changed.wait()), asyncio.create_task(streams.pause(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return not streams.draining


class AlertFeed:
    """All watchers."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    @contextmanager
    def watch(self, alerts: Iterable[Alert] = ()) -> Iterator[Watcher]:
        """Tell of all changes for as long as the block lasts, after the alerts that are given."""
        watcher = Watcher(alerts)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def publish(self, alerts: Iterable[Alert]) -> None:
        """Tell all watchers of changes."""
        found = list(alerts)
        for watcher in self._watchers:
            watcher.tell(found)
