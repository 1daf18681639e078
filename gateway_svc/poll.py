"""Long polls: the timers around `core.poll`.

Owns one poll from its request to its answer. Made by the connection that carries it, which is told the answer; decides
nothing of what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import uuid_utils

from gateway_svc.core.handshake import Answer
from gateway_svc.core.heartbeat import Wheel
from gateway_svc.core.poll import Collector, PollRequest
from gateway_svc.core.session import Fanout, Session, SessionContext

_SETTLE_SECONDS = 0.02
"""How long after the first news an answer waits for what belongs to it: other channels' pages of the log."""
_SUBSCRIBE_SECONDS = 4.0
"""How much longer than it asked a client waits where the publisher has not said yet where a channel stands."""


class Poll:
    """See the module. Use: `start`, then `finish` by itself or when drained; `abandon` where the client has gone."""

    def __init__(
        self,
        request: PollRequest,
        fanout: Fanout,
        context: SessionContext,
        wheel: Wheel,
        on_answer: Callable[[Answer], None],
    ) -> None:
        self._collector = _Sink(request, self._on_frame)
        self._wheel = wheel
        self._on_answer = on_answer
        self._session = Session(uuid_utils.uuid7().hex, self._collector, fanout, context, binary=False)
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(request.wait_seconds, self._on_time)
        self._settling = self._timed_out = False
        self._done = False

    def start(self) -> None:
        """Subscribe; the answer comes later, or at once."""
        for command in self._collector.request.commands():
            self._session.receive(command)

    def finish(self) -> None:
        """Answer with what there is. Idempotent."""
        if self.abandon():
            self._on_answer(self._collector.answer())

    def abandon(self) -> bool:
        """Let go of everything without an answer; say whether there was something to let go of. Idempotent."""
        if self._done:
            return False
        self._done = True
        self._timer.cancel()
        self._wheel.closed(self._session)
        self._session.leave()
        return True

    def _on_time(self) -> None:
        self._timed_out = True
        if self._collector.unanswered:
            self._timer = self._loop.call_later(_SUBSCRIBE_SECONDS, self.finish)
        else:
            self.finish()

    def _on_frame(self) -> None:
        collector = self._collector
        timed_out = self._timed_out and not collector.unanswered
        if self._settling or not (collector.has_news or collector.closed or timed_out):
            return
        self._settling = True
        self._timer.cancel()
        # Never within the hub's own step: it is about to move the reader's cursor.
        soon = collector.full or collector.closed
        self._timer = self._loop.call_later(0 if soon else _SETTLE_SECONDS, self.finish)


class _Sink(Collector):
    """A collector that says when something came."""

    __slots__ = ("_on_change",)

    def __init__(self, request: PollRequest, on_change: Callable[[], None]) -> None:
        super().__init__(request)
        self._on_change = on_change

    def write(self, data: bytes) -> bool:
        taken = super().write(data)
        self._on_change()
        return taken

    def close(self, number: int, reason: str) -> None:
        super().close(number, reason)
        self._on_change()
