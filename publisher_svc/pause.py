"""Notices that this process did not run for a while: it was stopped, or its machine was.

Owns a heartbeat of the event loop. Used by the publish service, which then ends its streams: what lies in their
connections may be old. Its senders have long given this process up, and published the same events elsewhere; an event
that is stored so late can be outside the memory of ids, and would be stored a second time (docs/adr/0013).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

LIMIT_SECONDS = 10.0
"""A loop that stands still for longer has been paused. Nothing that it does itself takes as long."""

_BEAT_SECONDS = 1.0


class PauseWatch:
    """Use: `start`, then ask `is_overdue` before what must not be old; `close`."""

    def __init__(self, on_pause: Callable[[], None], limit_seconds: float = LIMIT_SECONDS) -> None:
        self._on_pause = on_pause
        self._limit = limit_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beat_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._loop = asyncio.get_running_loop()
        self._beat_at = self._loop.time()
        self._timer = self._loop.call_later(_BEAT_SECONDS, self._beat)

    def close(self) -> None:
        """Stop watching. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def is_overdue(self) -> bool:
        """True after a pause, until it was noted: what comes first after one may come before the heartbeat."""
        return self._loop is not None and self._loop.time() - self._beat_at > self._limit

    def _beat(self) -> None:
        assert self._loop is not None
        if self.is_overdue:
            log.warning(
                "this process did not run for %.0f s: ending the publishing streams", self._loop.time() - self._beat_at
            )
            self._on_pause()
        self._beat_at = self._loop.time()
        self._timer = self._loop.call_later(_BEAT_SECONDS, self._beat)
