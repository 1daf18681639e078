"""PublishEvents and PublishEventStream.

Owns the conversation with publishing SDKs: opening, credit, acknowledgements, closing. Called by the gRPC server; hands
events to `ingest` and knows nothing of the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from lanecast.core.limits import (
    DEDUP_WINDOW_SECONDS,
    MAX_EVENTS_PER_MESSAGE,
    MAX_PAYLOAD_BYTES,
    PUBLISH_CREDIT_BYTES,
)
from lanecast.errors import LanecastError, StatusError, UnavailableError
from lanecast.internal.v1.stream_pb2 import PublishEventStreamRequestView, PublishMessageView
from lanecast.runtime import status
from lanecast.runtime.scheduling import give_way
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import PRIORITY_CRITICAL, Event
from publisher_svc.acceptance import Submission, Waiting
from publisher_svc.core.admission import ProducerOrder
from publisher_svc.core.answers import Answers, result_of
from publisher_svc.identity import Doorkeeper, Visitor, token_expired
from publisher_svc.ingest import Ingest
from publisher_svc.pause import PauseWatch

_ACK_INTERVAL_SECONDS = 0.008
"""Least time between two messages of acknowledgements on a busy stream: each costs as much as storing five events."""

_BUSY_ANSWERS = 16
"""A stream that was answered so many events at once is busy: its lone events wait for their turn, too."""

_SLICE_EVENTS = 32
"""Most events that are checked and stored in one turn of the event loop; about 0.3 ms."""

_OPENING = "the first message of the stream must be `open`: send PublishEventStreamRequest.open, then `publish`"


class PublishService:
    """The publishing half of `lanecast.v1.PublisherService`."""

    def __init__(self, ingest: Ingest, epoch: str, doorkeeper: Doorkeeper, log_id: str = "") -> None:
        self._ingest = ingest
        self._epoch = epoch
        self._log_id = log_id
        self._doorkeeper = doorkeeper
        self._sessions: set[_PublishSession] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._pause = PauseWatch(self._on_pause)

    def start(self) -> None:
        """Begin to watch for pauses of this process."""
        self._pause.start()

    def close(self) -> None:
        """Stop watching. Idempotent."""
        self._pause.close()

    async def publish_events(self, request: pb.PublishEventsRequest, context: Any) -> pb.PublishEventsResponse:
        """Answer PublishEvents."""
        with self._doorkeeper.admit(context.invocation_metadata()) as visitor:
            return await self._publish_once(request, visitor)

    async def _publish_once(
        self, request: pb.PublishEventsRequest, visitor: Visitor | None
    ) -> pb.PublishEventsResponse:
        _check_count(len(request.events))
        screen = None if visitor is None else visitor.screen(request.events)
        done: asyncio.Future[Submission] = asyncio.get_running_loop().create_future()

        def on_done(made: Submission) -> None:
            if not done.done():  # the caller may have gone away
                done.set_result(made)

        self._ingest.submit(request.events, "", ProducerOrder(), on_done, screen)
        submission = await done
        return pb.PublishEventsResponse(epoch=self._epoch, results=[result_of(each) for each in submission.results])

    async def publish_event_stream(self, requests: AsyncIterator[PublishEventStreamRequestView], context: Any) -> None:
        """Answer PublishEventStream."""
        with self._doorkeeper.admit(context.invocation_metadata()) as visitor:
            opening = await _opening(requests)
            session = _PublishSession(self._ingest, self._opened(), opening, context, visitor, self._pause)
            self._sessions.add(session)
            self._empty.clear()
            try:
                await session.run(requests)
            finally:
                self._sessions.discard(session)
                if not self._sessions:
                    self._empty.set()

    def _opened(self) -> pb.PublishOpened:
        return pb.PublishOpened(
            epoch=self._epoch,
            credit_bytes=PUBLISH_CREDIT_BYTES,
            max_events=MAX_EVENTS_PER_MESSAGE,
            max_payload_bytes=MAX_PAYLOAD_BYTES,
            dedup_window_seconds=DEDUP_WINDOW_SECONDS,
            log_id=self._log_id,
        )

    def announce_drain(self, grace_millis: int) -> None:
        """Tell all publishing SDKs to go elsewhere."""
        for session in self._sessions:
            session.announce_drain(grace_millis)

    async def wait_empty(self) -> None:
        """Return once no publishing stream is open."""
        await self._empty.wait()

    def _on_pause(self) -> None:
        for session in self._sessions:
            session.is_old = True


class _PublishSession:
    """One publishing stream: reads events, writes acknowledgements as submissions complete."""

    def __init__(
        self,
        ingest: Ingest,
        opened: pb.PublishOpened,
        opening: pb.PublishOpen,
        context: Any,
        visitor: Visitor | None,
        pause: PauseWatch,
    ) -> None:
        self.is_old = False
        """True where this process was paused since the stream was opened."""
        self._pause = pause
        self._ingest = ingest
        self._opened = opened
        self._source = opening.source
        self._context = context
        self._visitor = visitor
        self._expired = False
        self._order = ProducerOrder()
        self._answers = Answers(opened.epoch, offsets=opening.reads_offsets)
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._unanswered = 0
        self._open = 0
        self._ended = False
        self._hurry = False

    async def run(self, requests: AsyncIterator[PublishEventStreamRequestView]) -> None:
        """Serve the stream until the client closes it or goes away; everything submitted is answered first."""
        self._answer(pb.PublishEventStreamResponse(opened=self._opened))
        writer = asyncio.create_task(self._write(), name="publish-answers")
        failure: LanecastError | None = None
        closing = False
        try:
            try:
                closing = await self._read(requests)
            except LanecastError as error:
                failure = error
            # First what is outstanding: it is due, and a call that is ended while it writes would never end.
            self._ended = True
            self._wake.set()
            await writer
            if self._expired:
                raise token_expired()
            if failure is not None:
                raise failure
            if closing:
                await self._context.write(pb.PublishEventStreamResponse(closed=pb.PublishClosed()))
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def announce_drain(self, grace_millis: int) -> None:
        """Tell the SDK to go elsewhere."""
        self._answer(pb.PublishEventStreamResponse(drain=pb.DrainNotice(grace_millis=grace_millis)))

    async def _read(self, requests: AsyncIterator[PublishEventStreamRequestView]) -> bool:
        """Submit what comes; return True where the client said `close`, False where it, or its token, has gone."""
        async for request in requests:
            kind = request.WhichOneof("request")
            if kind == "close":
                return True
            if kind != "publish":
                raise StatusError(
                    status.FAILED_PRECONDITION, "STREAM_ORDER", "the stream is open: send `publish` or `close`"
                )
            if self.is_old or self._pause.is_overdue:
                raise UnavailableError("the publisher was paused, and what is in this stream may be old: send it again")
            _check_count(len(request.publish.events))
            if self._visitor is not None and self._visitor.has_expired:
                self._expired = True
                return False
            await self._take(request.publish)
            await self._room.wait()
        return False

    async def _take(self, message: PublishMessageView) -> None:
        """Submit a message in slices, the CRITICAL events that lead it by themselves.

        Between two slices the loop looks at its other work. Another publisher's CRITICAL events come a message at a
        time, each of which takes a turn of the loop or two: turns must be short, or they would queue on their stream.
        What a limited identity sends stays whole: how long it is told to wait counts for all of a message.
        """
        events = self._events(message)
        first, end = message.first_sequence, 0
        while end < len(events) and events[end].priority == PRIORITY_CRITICAL:
            end += 1
        slice_events = _SLICE_EVENTS if self._visitor is None else len(events)
        end = end or slice_events
        while end < len(events):
            self._open += 1  # more of the message follows: no need to hurry with the answer
            self._submit(events[:end], first)
            give_way()
            await asyncio.sleep(0)
            self._open -= 1
            events, first = events[end:], first + end
            end = slice_events
        self._submit(events, first)

    def _events(self, message: PublishMessageView) -> Sequence[Waiting | Event]:
        try:
            return self._ingest.read(message.events, self._source)
        except DecodeError as error:
            raise StatusError(
                status.INVALID_ARGUMENT, "MALFORMED", "an event is not a valid lanecast.v1.Event"
            ) from error

    def _submit(self, events: Sequence[Waiting | Event], first: int) -> None:
        self._open += 1
        screen = None if self._visitor is None else self._visitor.screen(events)
        submission = self._ingest.submit(
            events, self._source, self._order, lambda made: self._on_done(first, made), screen
        )
        if submission.open:
            self._unanswered += submission.size
            if self._unanswered > PUBLISH_CREDIT_BYTES:  # the client ignores its credit: leave the rest on the wire
                self._room.clear()

    def _on_done(self, first_sequence: int, submission: Submission) -> None:
        self._open -= 1
        self._unanswered = max(0, self._unanswered - submission.size)
        if self._unanswered <= PUBLISH_CREDIT_BYTES:
            self._room.set()
        # A lone event is answered at once: its sender may be waiting for just that. Answers to many share messages.
        self._hurry = self._hurry or (len(submission.results) == 1 and not self._open)
        if submission.run:
            self._answers.add_run(first_sequence, submission.run, len(submission.results))
        else:
            self._answers.add(first_sequence, submission.results)
        self._wake.set()

    def _answer(self, response: pb.PublishEventStreamResponse) -> None:
        self._hurry = True
        self._answers.say(response)
        self._wake.set()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0
        answered = 0
        while True:
            wait = last + _ACK_INTERVAL_SECONDS - loop.time()
            patient = not self._hurry or answered >= _BUSY_ANSWERS
            if wait > 0 and patient and not self._ended:
                await asyncio.sleep(wait)
            self._hurry = False
            last = loop.time()
            answered = 0
            while self._answers:
                message, events = self._answers.take()
                answered += events
                await self._context.write(message)
            if self._ended and not self._open:
                return
            self._wake.clear()
            await self._wake.wait()


async def _opening(requests: AsyncIterator[PublishEventStreamRequestView]) -> pb.PublishOpen:
    """Return the opening message."""
    async for request in requests:
        if request.WhichOneof("request") != "open":
            break
        return request.open
    raise StatusError(status.FAILED_PRECONDITION, "STREAM_NOT_OPENED", _OPENING)


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_EVENTS_PER_MESSAGE:
        raise StatusError(
            status.INVALID_ARGUMENT,
            "EVENT_COUNT",
            f"the message has {count} events: send 1 to {MAX_EVENTS_PER_MESSAGE}",
            field="events",
        )
