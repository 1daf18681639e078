"""The SDK for programs without an event loop: `Publisher` and `BlockingSubscriber`.

Owns one background thread per process, with the event loop in which all blocking publishers and subscribers live; each
is a thin front of the asynchronous one. They may be used from any thread. Called by users.

The thread is a daemon, so a program ends when its own threads do; what is open then is closed first, which waits for
outstanding acknowledgements as leaving the `with` block does. A process made by `fork()` has no such thread: create
publishers and subscribers after forking.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from google.protobuf.message import Message

from lanecast.core.priority import Priority
from lanecast.cursors import CursorStore
from lanecast.errors import LanecastError, NotAcknowledgedError, PublisherClosedError, UnavailableError
from lanecast.publisher import Ack, AsyncPublisher, PublisherSettings, PublisherStatistics, TokenSource
from lanecast.subscriber import Delivery, EventStream, Gap, Start, Subscriber, SubscriberSettings
from lanecast.transport import Tls

log = logging.getLogger("lanecast.publisher")

T = TypeVar("T")

_FORKED = "was created before fork() and cannot be used in the child process: create a new one there"


class _LoopThread:
    """The event loop of this process for blocking programs."""

    _lock = threading.Lock()
    _current: _LoopThread | None = None

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_on_loop_error)
        self.thread = threading.Thread(target=self._run, name="lanecast", daemon=True)
        self.thread.start()

    @classmethod
    def get(cls) -> _LoopThread:
        """Return the thread, started if need be. One for all: two loops of gRPC in a process disturb each other."""
        with cls._lock:
            if cls._current is None or cls._current.pid != os.getpid():
                cls._current = _LoopThread()
            return cls._current

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine in the loop and return its result.

        Raises:
            TimeoutError: it is not done after `timeout` seconds; it has been cancelled.
        """
        if threading.current_thread() is self.thread:
            work.close()
            raise LanecastError("a blocking call cannot be made from a callback of Lanecast: use another thread")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout)
        except BaseException:  # Ctrl-C as well: nobody waits for it any more
            future.cancel()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what goes wrong in callbacks, except what gRPC does where a process has several loops.

    Its completion queue wakes all of them and only one finds something to read; nothing is lost by it
    (https://github.com/grpc/grpc/issues/25364).
    """
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)


class Publisher:
    """Publishes events over one stream, with an acknowledgement for each, from programs without an event loop.

    Use::

        with Publisher("127.0.0.1:7400", source="concierge") as publisher:
            ack = publisher.publish("agent:42", insight, priority=Priority.CRITICAL)

    Delivery and failures are as described for `AsyncPublisher`. Several threads may use one publisher; the order within
    a channel and lane is the order in which their calls were made.
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
        """Prepare a publisher; arguments as for `AsyncPublisher`."""
        self._publisher = AsyncPublisher(targets, source=source, token=token, settings=settings, tls=tls)
        self._pid = os.getpid()
        self._thread: _LoopThread | None = None
        self._finalizer: weakref.finalize[..., Publisher] | None = None
        self._lock = threading.Lock()
        self._handed: deque[tuple[str, Priority, str, bytes, concurrent.futures.Future[Ack]]] = deque()
        self._handed_bytes = 0
        self._scheduled = False

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except NotAcknowledgedError as unconfirmed:
            log.warning("%s", unconfirmed)  # the error of the block says more

    def connect(self) -> None:
        """Open the stream; `with` does it for you.

        Raises:
            UnavailableError: no target answered within `connect_timeout`; names them and says what to do.
            StatusError, TokenError: as for `AsyncPublisher`.
        """
        self._check_process()
        if self._thread is None:
            self._thread = _LoopThread.get()
        self._thread.call(self._publisher.connect())
        if self._finalizer is None:
            self._finalizer = weakref.finalize(self, _close_forgotten, self._thread, self._publisher, self._pid)

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
    ) -> concurrent.futures.Future[Ack]:
        """Hand over an event and return the future of its acknowledgement; it cannot be cancelled.

        Arguments and errors as for `AsyncPublisher.publish_nowait`.
        """
        thread = self._open_thread()
        future: concurrent.futures.Future[Ack] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            event_id, chain, data = self._publisher.encode(
                channel, message, priority, id, ttl, conflation_key, trace_context
            )
            if not self._publisher.has_room(len(data), len(self._handed), self._handed_bytes):
                raise self._publisher.buffer_full(event_id, channel)
            self._handed.append((channel, chain.lane, event_id, data, future))
            self._handed_bytes += len(data)
            scheduled, self._scheduled = self._scheduled, True
        if not scheduled:
            thread.loop.call_soon_threadsafe(self._take_over)
        return future

    def publish(
        self,
        channel: str,
        message: Message,
        *,
        priority: Priority,
        id: str | None = None,  # noqa: A002
        ttl: float | None = None,
        conflation_key: str = "",
        trace_context: bytes = b"",
        timeout: float | None = None,
    ) -> Ack:
        """Publish an event and wait for its acknowledgement, before that for room in the buffer.

        Arguments and errors as for `AsyncPublisher.publish`. `timeout` is in seconds; None waits as long as it takes,
        which `delivery_seconds` bounds once there is room.

        Raises:
            TimeoutError: there was no acknowledgement in time; the event may still be published.
        """
        thread = self._open_thread()
        work = self._publish(channel, message, priority, id, ttl, conflation_key, trace_context)
        return thread.call(work, timeout)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every event handed over so far has its answer; see `AsyncPublisher.flush`."""
        self._open_thread().call(self._flush(timeout))

    def close(self, timeout: float | None = None) -> None:
        """Flush, end the stream and release everything. Idempotent; see `AsyncPublisher.close`."""
        if os.getpid() != self._pid or self._thread is None:
            return
        if self._finalizer is not None:
            self._finalizer.detach()
        self._thread.call(self._close(timeout))

    def statistics(self) -> PublisherStatistics:
        """Return a snapshot of buffer, counts and connection."""
        return self._publisher.statistics()

    def __repr__(self) -> str:
        return repr(self._publisher).replace("AsyncPublisher", "Publisher", 1)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise PublisherClosedError(f"this publisher {_FORKED}")

    def _open_thread(self) -> _LoopThread:
        self._check_process()
        if self._thread is None:
            raise PublisherClosedError("the publisher is not open: use it inside `with`, or call connect() first")
        if self._publisher.is_closed:
            raise PublisherClosedError("the publisher is closed: create a new one, and publish inside its `with` block")
        return self._thread

    # In the loop's thread

    def _take_over(self) -> None:
        """Move what other threads have handed over into the buffer."""
        with self._lock:
            handed, self._handed = self._handed, deque()
            self._handed_bytes = 0
            self._scheduled = False
            for channel, lane, event_id, data, future in handed:
                self._publisher.hand_over(channel, lane, event_id, data, future)
        self._publisher.fail_where_refused()  # which may have happened since they were handed over

    async def _publish(
        self,
        channel: str,
        message: Message,
        priority: Priority,
        event_id: str | None,
        ttl: float | None,
        conflation_key: str,
        trace_context: bytes,
    ) -> Ack:
        self._take_over()
        return await self._publisher.publish(
            channel,
            message,
            priority=priority,
            id=event_id,
            ttl=ttl,
            conflation_key=conflation_key,
            trace_context=trace_context,
        )

    async def _flush(self, timeout: float | None) -> None:  # noqa: ASYNC109
        self._take_over()
        await self._publisher.flush(timeout)

    async def _close(self, timeout: float | None) -> None:  # noqa: ASYNC109
        self._take_over()
        await self._publisher.close(timeout)


def _close_forgotten(thread: _LoopThread, publisher: AsyncPublisher, pid: int) -> None:
    """Close a publisher that was dropped, or left open at the end of the program."""
    if os.getpid() != pid or threading.current_thread() is thread.thread:
        return
    try:
        thread.call(publisher.close())
    except LanecastError as error:
        log.error("a publisher that was never closed: %s", error)  # noqa: TRY400 - the text says it all


class BlockingSubscriber:
    """Receives the events of channels in programs without an event loop; see `Subscriber`.

    Use::

        with BlockingSubscriber("127.0.0.1:7400", cursors=FileCursorStore("cursors.db")) as subscriber:
            for delivery in subscriber.events(["bots:handoffs"]):
                print(delivery.channel, delivery.message)
    """

    def __init__(
        self,
        targets: str | Sequence[str] = "127.0.0.1:7400",
        *,
        name: str = "",
        cursors: CursorStore | None = None,
        settings: SubscriberSettings | None = None,
        tls: Tls | None = None,
    ) -> None:
        """Prepare a subscriber; arguments as for `Subscriber`."""
        self._subscriber = Subscriber(targets, name=name, cursors=cursors, settings=settings, tls=tls)
        self._pid = os.getpid()
        self._thread: _LoopThread | None = None

    def __enter__(self) -> Self:
        self._thread = _LoopThread.get()
        self._thread.call(self._subscriber.connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None and os.getpid() == self._pid:
            self._thread.call(self._subscriber.__aexit__(kind, error, trace))

    def events(
        self,
        channels: str | Sequence[str],
        *,
        lanes: Sequence[Priority] = (),
        start: Start = Start.LATEST,
        last_n: int = 0,
        auto_commit: bool = True,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> BlockingEventStream:
        """Return the events of channels as an iterator; arguments as for `Subscriber.events`.

        `on_gap` is called in Lanecast's thread: it must not block.
        """
        if os.getpid() != self._pid:
            raise UnavailableError(f"this subscriber {_FORKED}")
        if self._thread is None:
            raise UnavailableError("the subscriber is not open: use it inside `with`")
        stream = self._subscriber.events(
            channels, lanes=lanes, start=start, last_n=last_n, auto_commit=auto_commit, on_gap=on_gap
        )
        return BlockingEventStream(self._thread, stream)


class BlockingDelivery:
    """A `Delivery` whose `commit()` blocks; everything else is as there."""

    def __init__(self, thread: _LoopThread, delivery: Delivery) -> None:
        self._thread = thread
        self._delivery = delivery

    def commit(self) -> None:
        """Save that this event and all before it in its channel and lane have been handled."""
        self._thread.call(self._delivery.commit())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delivery, name)

    def __repr__(self) -> str:
        return repr(self._delivery)


class BlockingEventStream:
    """Yields deliveries, the most urgent lane first, until it is closed."""

    def __init__(self, thread: _LoopThread, stream: EventStream) -> None:
        self._thread = thread
        self._stream = stream

    def __enter__(self) -> Self:
        self.subscribed()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.call(self._stream.aclose(handled=kind is None))

    def subscribed(self) -> None:
        """Return once the subscription stands; see `EventStream.subscribed`."""
        self._thread.call(self._stream.subscribed())

    def close(self) -> None:
        """Close the stream and save positions. Idempotent."""
        self._thread.call(self._stream.aclose())

    def __iter__(self) -> Iterator[BlockingDelivery]:
        return self

    def __next__(self) -> BlockingDelivery:
        delivery = self._thread.call(_next(self._stream))
        if delivery is None:
            raise StopIteration
        return BlockingDelivery(self._thread, delivery)


async def _next(stream: EventStream) -> Delivery | None:
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return None
