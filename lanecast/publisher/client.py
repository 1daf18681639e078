"""The asynchronous publisher.

Owns futures, tasks, the clock and the connection to a publisher service; what is sent when, and what becomes of an
event, is decided by `lanecast.publisher.core.outbox`. Called by users and by the blocking publisher.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from sys import modules
from threading import get_ident
from time import time_ns
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import Message
from uuid_utils import uuid7

from lanecast.core.limits import MAX_SOURCE_BYTES
from lanecast.core.priority import Priority
from lanecast.errors import (
    BufferFullError,
    ConfigError,
    NotAcknowledgedError,
    PublisherClosedError,
    PublishError,
    StatusError,
)
from lanecast.publisher.core import failures
from lanecast.publisher.core.ack import Ack, PublisherStatistics
from lanecast.publisher.core.encoding import EventEncoder, check_lane
from lanecast.publisher.core.entry import Chain, Entry
from lanecast.publisher.core.outbox import Outbox
from lanecast.publisher.core.outcome import Failed
from lanecast.publisher.credentials import Credentials, TokenSource
from lanecast.publisher.link import PublisherLink
from lanecast.publisher.room import WaitingRoom
from lanecast.publisher.settings import PublisherSettings
from lanecast.publisher.tracing import TRACE_API, current_context
from lanecast.transport import Targets, Tls
from lanecast.v1.publisher_pb2 import PublishOpened

log = logging.getLogger("lanecast.publisher")

_REMEMBERED_FAILURES = 10_000
_CLOSED = "the publisher is closed: create a new one, and publish inside its `with` block"


class AsyncPublisher:
    """Publishes events over one stream, with an acknowledgement for each.

    Use::

        async with AsyncPublisher("127.0.0.1:7400", source="concierge") as publisher:
            ack = await publisher.publish("agent:42", insight, priority=Priority.CRITICAL)

    *Delivery.* An event whose future has a result is in the log. Until then the publisher keeps it, sends it again
    after a lost connection or a refusal for the moment, and keeps the order within a channel and lane. The service
    recognises an event that comes twice by its id, so each is stored once.

    *Failures.* A future fails with `PublishError` where the service refuses the event for good (`reason` says why), or
    where no answer came within `delivery_seconds`. You need not keep the futures of `publish_nowait`: `flush()`, and
    leaving the `with` block, raise `NotAcknowledgedError` where any event handed over since the last `flush()` failed.
    So a failure cannot pass unseen, and asyncio's "exception was never retrieved" is not printed. Failures of
    `publish()` are raised there and nowhere else.

    *Tokens.* Where the service lets in holders of a token only, give `token`. Where it is refused later on, all that
    waits fails with the reason, and so does what is published afterwards, until `connect()` succeeds. A token that has
    merely expired is replaced where `token` is a function.

    *Cancelling* a future or an `await publish(…)` does not take the event back.
    """

    def __init__(
        self,
        targets: str | Sequence[str] = "127.0.0.1:7400",
        *,
        source: str = "",
        token: TokenSource | None = None,
        settings: PublisherSettings | None = None,
        tls: Tls | None = None,
    ) -> None:
        """Prepare a publisher; nothing is opened before the `async with` block or `connect()`.

        Args:
            targets: `host:port` of one or several equivalent publisher services.
            source: Names the publishing service in its events, at most 128 bytes.
            token: A token that lets this publisher in, or a function that returns one. The function is called in a
                thread for each connection, so that a token may expire: the publisher then connects again with the next.
            settings: Limits and timeouts.
            tls: How the services are called; None: as the section `tls` of the configuration says, else in plain text.

        Raises:
            ConfigError: a target or the source is malformed.
            TokenError: the token is.
        """
        if len(source.encode()) > MAX_SOURCE_BYTES:
            raise ConfigError(f"source has more than {MAX_SOURCE_BYTES} bytes: use a shorter one")
        self._settings = settings or PublisherSettings()
        self._outbox = Outbox(self._settings)
        self._encoder = EventEncoder()
        self._link = PublisherLink(
            self._outbox, Targets(targets, tls), source, Credentials(token), self._settings, self._settle
        )
        self._link.on_opened = self._learn_limits
        self._link.on_refused = self._on_refused
        self._refusal: StatusError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._room = WaitingRoom(self._outbox.has_room)
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._failures: deque[str] = deque(maxlen=_REMEMBERED_FAILURES)
        self._last_failure: PublishError | None = None
        self._reasons: set[str] = set()
        self._closing: asyncio.Future[None] | None = None

    # Life

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except NotAcknowledgedError as unconfirmed:
            if error is None:
                raise
            log.warning("%s", unconfirmed)  # the error of the block says more

    async def connect(self) -> None:
        """Open the stream; `async with` does it for you.

        Raises:
            UnavailableError: no target answered within `connect_timeout`; names them and says what to do.
            StatusError: the service refuses this publisher, for example for its token.
            TokenError: the function for the token failed.
        """
        if self._closing is not None:
            raise PublisherClosedError(_CLOSED)
        self._refusal = None
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        await self._link.connect()

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - it ends with an error of its own
        """Wait until every event handed over so far has its answer.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes, which `delivery_seconds` bounds.

        Raises:
            NotAcknowledgedError: events are unanswered after `timeout`, or events of `publish_nowait` have failed since
                the last `flush()`; `event_ids` has the ids.
        """
        self._running_loop()
        await self._flush(timeout)

    async def _flush(self, timeout: float | None) -> None:  # noqa: ASYNC109
        through = self._outbox.last_order
        if not self._outbox.is_answered(through):
            future = asyncio.get_running_loop().create_future()
            self._flushes.append((through, future))
            await asyncio.wait((future,), timeout=timeout)
            self._flushes = [waiting for waiting in self._flushes if waiting[1] is not future]
        failed = list(self._failures)
        self._failures.clear()
        unanswered = self._outbox.unanswered(through)
        if failed or unanswered:
            raise failures.not_acknowledged(failed, unanswered, self._last_failure)

    async def close(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Flush, end the stream and release everything. Idempotent.

        Args:
            timeout: Seconds to wait for outstanding acknowledgements; None: `close_timeout` of the settings.

        Raises:
            NotAcknowledgedError: as `flush()`. Events unanswered at the end fail with `PublisherClosedError`.
        """
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = asyncio.get_running_loop().create_future()
        self._thread = 0  # whoever publishes from now on is told so
        try:
            await self._flush(self._settings.close_timeout if timeout is None else timeout)
        finally:
            self._outbox.abandon(failures.closed_before_answer)
            self._settle()
            self._failures.clear()
            await self._link.close()
            self._closing.set_result(None)

    # Publishing

    def publish_nowait(
        self,
        channel: str,
        message: Message,
        *,
        priority: Priority,
        id: str | None = None,  # noqa: A002 - the field's name
        ttl: float | None = None,
        conflation_key: str = "",
        trace_context: bytes = b"",
    ) -> asyncio.Future[Ack]:
        """Hand over an event and return the future of its acknowledgement.

        Args:
            channel: Channel to publish to, for example `agent:42`.
            message: The payload: a message of a registered type. It is serialised at once; change it as you like.
            priority: The lane.
            id: Idempotency key within the channel, at most 64 bytes; None: a UUIDv7.
            ttl: Seconds after acceptance for which the event is worth delivering; None: until retention ends.
            conflation_key: Events of the channel and lane with the same key may replace one another for slow readers.
            trace_context: 25 bytes of W3C trace context; none: that of the current OpenTelemetry span, if any.

        Raises:
            BufferFullError: `max_events` or `max_bytes` are waiting; slow down, or use `publish()`, which waits.
            PublishError: the event is malformed; `reason` and the text say what is wrong.
            PublisherClosedError: the publisher is not open.
        """
        loop, outbox = self._loop, self._outbox
        if get_ident() != self._thread or loop is None or not loop.is_running():
            loop = self._running_loop()  # which says what is wrong
        if self._refusal is not None:
            self.check_let_in(channel)
        # As `encode`, which would be one more call for each event.
        chain = outbox.chain(channel, priority if type(priority) is Priority else check_lane(priority))
        event_id = str(uuid7()) if id is None else id
        if not trace_context and TRACE_API in modules:
            trace_context = current_context()
        data = self._encoder.encode(event_id, chain.route, message, time_ns(), ttl, conflation_key, trace_context)
        if self._room.is_occupied or not outbox.has_room(len(data)):
            raise self.buffer_full(event_id, channel)
        future: asyncio.Future[Ack] = loop.create_future()
        if outbox.add(chain, event_id, data, future, loop.time()):
            self._link.notify(chain.lane)
        return future

    async def publish(
        self,
        channel: str,
        message: Message,
        *,
        priority: Priority,
        id: str | None = None,  # noqa: A002
        ttl: float | None = None,
        conflation_key: str = "",
        trace_context: bytes = b"",
    ) -> Ack:
        """Publish an event and wait for its acknowledgement, before that for room in the buffer.

        Arguments as in `publish_nowait`.

        Raises:
            PublishError: the event is malformed, was refused for good, or was not acknowledged in time.
            PublisherClosedError: the publisher is not open, or was closed meanwhile.
        """
        loop = self._running_loop()
        self.check_let_in(channel)
        event_id, chain, data = self.encode(channel, message, priority, id, ttl, conflation_key, trace_context)
        if not self.has_room(len(data)):
            await self._room.wait(len(data))
            self._running_loop()  # it may have been closed meanwhile
            self.check_let_in(channel)
        future: asyncio.Future[Ack] = loop.create_future()
        self.hand_over(channel, chain.lane, event_id, data, future, watched=True)
        return await future

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self._closing is not None

    def statistics(self) -> PublisherStatistics:
        """Return a snapshot of buffer, counts and connection."""
        outbox = self._outbox
        return PublisherStatistics(
            buffered_events=outbox.buffered_events,
            buffered_bytes=outbox.buffered_bytes,
            in_flight_events=outbox.in_flight_events,
            in_flight_bytes=outbox.in_flight_bytes,
            credit_bytes=outbox.credit_bytes,
            published=outbox.published,
            acknowledged=outbox.acknowledged,
            duplicates=outbox.duplicates,
            failed=outbox.failed,
            retried=outbox.retried,
            resent=outbox.resent,
            messages=outbox.messages,
            connections=self._link.connections,
            target=self._link.target,
        )

    def __repr__(self) -> str:
        link, outbox = self._link, self._outbox
        state = "closed" if self._closing else f"connected to {link.target}" if link.target else "not connected"
        return (
            f"<{type(self).__name__} {link.targets} {state}, {outbox.buffered_events} buffered,"
            f" {outbox.acknowledged} acknowledged, {outbox.failed} failed>"
        )

    # Parts that the blocking publisher uses too

    def encode(
        self,
        channel: str,
        message: Message,
        priority: Priority,
        event_id: str | None,
        ttl: float | None,
        conflation_key: str,
        trace_context: bytes,
    ) -> tuple[str, Chain, bytes]:
        """Check and serialise an event; return its id, its chain at this moment, and its bytes. Not for users."""
        lane = priority if type(priority) is Priority else check_lane(priority)
        if not trace_context and TRACE_API in modules:
            trace_context = current_context()
        event_id = str(uuid7()) if event_id is None else event_id
        chain = self._outbox.chain(channel, lane)
        data = self._encoder.encode(event_id, chain.route, message, time_ns(), ttl, conflation_key, trace_context)
        return event_id, chain, data

    def hand_over(
        self, channel: str, lane: Priority, event_id: str, data: bytes, waiter: object, *, watched: bool = False
    ) -> None:
        """Put an encoded event into the buffer and see that it is sent. Not for users."""
        outbox = self._outbox
        assert self._loop is not None
        if outbox.add(outbox.chain(channel, lane), event_id, data, waiter, self._loop.time(), watched=watched):
            self._link.notify(lane)

    def has_room(self, size: int, more_events: int = 0, more_bytes: int = 0) -> bool:
        """Say whether an encoded event fits on top of what is there and about to come. Not for users."""
        return not self._room.is_occupied and self._outbox.has_room(size, more_events, more_bytes)

    def buffer_full(self, event_id: str, channel: str) -> BufferFullError:
        """Return the error for an event that there is no room for. Not for users."""
        return BufferFullError(
            f"{self._outbox.buffered_events} events are waiting to be acknowledged, which is as many as the buffer"
            " takes: publish more slowly, use publish(), which waits for room, or raise max_events and max_bytes",
            event_id=event_id,
            channel=channel,
        )

    def check_let_in(self, channel: str) -> None:
        """Raise where the service does not let this publisher in any more. Not for users."""
        if self._refusal is not None:
            raise failures.not_let_in(self._refusal, "", channel)

    def fail_where_refused(self) -> None:
        """Fail what is in the buffer where the service does not let this publisher in any more. Not for users."""
        refusal = self._refusal
        if refusal is not None:
            self._outbox.abandon(lambda event_id, channel: failures.not_let_in(refusal, event_id, channel))
            self._settle()

    # Outcomes

    def _on_refused(self, error: StatusError) -> None:
        self._refusal = error
        self.fail_where_refused()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of this publisher, where it is open and the caller runs in it."""
        if self._closing is not None:
            raise PublisherClosedError(_CLOSED)
        loop = self._loop
        if loop is None:
            raise PublisherClosedError("the publisher is not open: use it inside `async with`, or call connect() first")
        # Not get_running_loop(): it asks the kernel for the process id, which costs more than all the rest of this.
        if get_ident() != self._thread or not loop.is_running():
            raise PublisherClosedError("the publisher belongs to another event loop: create one in each loop")
        return loop

    def _learn_limits(self, opened: PublishOpened) -> None:
        if opened.max_payload_bytes:
            self._encoder.max_payload_bytes = opened.max_payload_bytes

    def _settle(self) -> None:
        """Resolve the futures of events that have an outcome, then let in who waits for room or for a flush."""
        outcomes = self._outbox.take_outcomes()
        if not outcomes:
            return
        waiter: Any
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                self._failed(*outcome)
                continue
            for entry, ack in zip(outcome.entries, outcome.acks(), strict=True):
                waiter = entry.waiter
                if not waiter.done():
                    waiter.set_result(ack)
        self._room.let_in()
        for through, future in self._flushes:
            if not future.done() and self._outbox.is_answered(through):
                future.set_result(None)

    def _failed(self, entry: Entry, error: PublishError) -> None:
        waiter: Any = entry.waiter
        if not waiter.done():
            waiter.set_exception(error)
            waiter.exception()  # flush() reports it; asyncio need not print it
        if entry.watched:
            return
        self._failures.append(entry.id)
        self._last_failure = error
        if error.reason not in self._reasons:
            self._reasons.add(error.reason)
            log.warning(
                "event %s for %s failed: %s (%s; said once per reason)", entry.id, error.channel, error, error.reason
            )
