"""Publishes a sequence of lines and reports on each in input order, with bounded memory.

Owns the window of unanswered lines. Called by `lanecast publish`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lanecast.cli.core.drafts import Draft, parse_draft
from lanecast.cli.core.lines import Line
from lanecast.cli.core.payloads import PayloadTypes
from lanecast.cli.core.problems import InputError
from lanecast.errors import BufferFullError, LanecastError, PublishError

if TYPE_CHECKING:
    from lanecast import Ack, AsyncPublisher

MAX_LINE_BYTES = 1024 * 1024
"""Longest line that is read; the largest payload has 64 KiB, which JSON can make several times longer."""
WINDOW_LINES = 8192
"""Most lines whose outcome was not reported yet."""


class Listener(Protocol):
    """Who is told what became of each line, in input order."""

    def acknowledged(self, number: int, ack: Ack) -> None:
        """The event of this line is in the log."""

    def failed(self, number: int, reason: str, message: str) -> None:
        """The line is no event, or its event was not acknowledged; `reason` is a constant for programs."""


@dataclass(slots=True)
class _Pending:
    number: int
    answer: asyncio.Future[Ack] | PublishError


class LinePipeline:
    """Feeds lines to a publisher. Call `add()` for each line and `finish()` at the end."""

    def __init__(self, publisher: AsyncPublisher, types: PayloadTypes, listener: Listener) -> None:
        self._publisher = publisher
        self._types = types
        self._listener = listener
        self._window: deque[_Pending] = deque()

    async def add(self, line: Line) -> None:
        """Publish the event of a line; waits where too much is unanswered. Empty lines are passed over."""
        if line.text.strip():
            await self._admit(line.number, self._parse(line))

    async def finish(self) -> None:
        """Wait until every line was reported."""
        while self._window:
            await self._wait_for_oldest()

    def _parse(self, line: Line) -> Draft | PublishError:
        if line.truncated:
            return _bad_line(f"the line is longer than {MAX_LINE_BYTES} bytes: a payload may have 64 KiB")
        try:
            return parse_draft(line.text)
        except InputError as error:
            return _bad_line(str(error))

    async def _admit(self, number: int, draft: Draft | PublishError) -> None:
        while len(self._window) >= WINDOW_LINES:
            await self._wait_for_oldest()
        answer = draft if isinstance(draft, PublishError) else await self._hand_over(draft)
        self._window.append(_Pending(number, answer))
        if isinstance(answer, PublishError):
            self._report_answered()
        else:  # an answer is reported when it comes, not when the next line does
            answer.add_done_callback(self._report_answered)

    async def _hand_over(self, draft: Draft) -> asyncio.Future[Ack] | PublishError:
        try:
            message = self._types.parse(draft.type, draft.data)
        except InputError as error:
            return _bad_line(str(error))
        while True:
            try:
                return self._publisher.publish_nowait(
                    draft.channel,
                    message,
                    priority=draft.priority,
                    id=draft.id,
                    ttl=draft.ttl_seconds,
                    conflation_key=draft.conflation_key,
                )
            except BufferFullError as error:
                if not self._window:
                    return error
                await self._wait_for_oldest()
            except PublishError as error:
                return error

    def _report_answered(self, _answer: asyncio.Future[Ack] | None = None) -> None:
        while self._window and (isinstance(self._window[0].answer, PublishError) or self._window[0].answer.done()):
            self._report(self._window.popleft())

    async def _wait_for_oldest(self) -> None:
        oldest = self._window[0].answer
        if isinstance(oldest, asyncio.Future):
            await asyncio.wait((oldest,))
        self._report_answered()

    def _report(self, pending: _Pending) -> None:
        try:
            if isinstance(pending.answer, PublishError):
                raise pending.answer
            self._listener.acknowledged(pending.number, pending.answer.result())
        except PublishError as error:
            self._listener.failed(pending.number, error.reason, str(error))
        except LanecastError as error:
            self._listener.failed(pending.number, "NOT_ACKNOWLEDGED", str(error))


def _bad_line(message: str) -> PublishError:
    return PublishError(3, "BAD_LINE", message)
