"""Keeps a publisher connected and moves messages between its outbox and the stream.

Owns the tasks that connect, read and write, and the timer that wakes the writer. Called by the client; what is written,
and when, is the outbox's decision. Reports every change of the outbox through `settle`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from google.protobuf.message import DecodeError

from lanecast.core.priority import Priority
from lanecast.core.targets import Standing, TargetRing
from lanecast.errors import ConfigError, LanecastError, StatusError, TokenError, UnavailableError
from lanecast.publisher.core.outbox import Outbox, ProtocolError
from lanecast.publisher.credentials import Credentials
from lanecast.publisher.settings import PublisherSettings
from lanecast.publisher.stream import PublishStream
from lanecast.runtime import vitals
from lanecast.transport import OtherLogError, Targets, is_final, unreachable
from lanecast.v1.publisher_pb2 import PublishOpened

log = logging.getLogger("lanecast.publisher")

_CLOSE_SECONDS = 1.0
"""How long the service may take to answer `close`; everything is acknowledged by then."""
_LEAST_ATTEMPT_SECONDS = 0.2
"""With less time left than this no further attempt is made: its error would only say so."""
_NEVER = float("inf")


class PublisherLink:
    """The connection of one publisher: at most one open stream at a time."""

    def __init__(
        self,
        outbox: Outbox,
        targets: Targets,
        source: str,
        credentials: Credentials,
        settings: PublisherSettings,
        settle: Callable[[], None],
    ) -> None:
        self.targets = targets
        self.target = ""
        """Address of the open stream; empty while there is none."""
        self.connections = 0
        """Streams opened so far."""
        self.on_opened: Callable[[PublishOpened], None] | None = None
        self.on_refused: Callable[[StatusError], None] | None = None
        """Told when the service no longer lets this publisher in; no further attempt is made."""
        self._outbox = outbox
        self._source = source
        self._credentials = credentials
        self._settings = settings
        self._ring = TargetRing(targets.names, any_log=settings.any_log)
        self._settle = settle
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._waker: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._stopping = asyncio.Event()
        self._lost = False
        self._foreign: set[str] = set()
        """What was said of targets with another log."""

    async def connect(self) -> None:
        """Start, and return once a stream is open.

        Raises:
            UnavailableError: no target answered in time.
            StatusError: the service refuses.
        """
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._first = loop.create_future()
            self._task = loop.create_task(self._run(), name="lanecast-publisher")
        assert self._first is not None
        await asyncio.shield(self._first)

    async def close(self) -> None:
        """End the stream in order, or at once where there is none. Idempotent."""
        self._stopping.set()
        self._wake()
        task, self._task = self._task, None
        if task is None:
            return
        if self.target:
            await asyncio.wait((task,), timeout=_CLOSE_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def notify(self, lane: Priority) -> None:
        """Take note that an event was added to the outbox."""
        if self._waker is None:
            return  # the writer is at work and looks again when it is done
        if lane is Priority.CRITICAL:
            self._wake()
            return
        at = self._outbox.send_at(lane)
        if at < self._timer_at:
            self._arm(at)

    # Connecting

    async def _run(self) -> None:
        assert self._first is not None
        loop, ring = asyncio.get_running_loop(), self._ring
        give_up_at = loop.time() + self._settings.connect_timeout
        while not self._stopping.is_set():
            target, delay = ring.next(loop.time())
            await self._pause(delay)
            if self._stopping.is_set():
                return
            connections, error, is_left = self.connections, None, False
            try:
                is_left = await self._session(target, self._attempt_seconds(give_up_at - loop.time()))
            except LanecastError as reason:
                error = reason
            in_time = loop.time() < give_up_at - _LEAST_ATTEMPT_SECONDS
            if error is not None and not self._goes_on(error, in_time, self.connections > connections):
                return
            if is_left:
                ring.left(target)
            else:
                ring.failed(target, loop.time())
            self._outbox.expire(loop.time())
            self._settle()

    def _attempt_seconds(self, left: float) -> float:
        """Return how long an attempt may take: the first ones share `connect_timeout`."""
        assert self._first is not None
        whole = self._settings.connect_timeout
        return whole if self._first.done() else max(_LEAST_ATTEMPT_SECONDS, left / min(2, len(self.targets.names)))

    def _goes_on(self, error: LanecastError, in_time: bool, was_open: bool) -> bool:
        """Take note of a failed attempt or a lost stream, and say whether to try again."""
        assert self._first is not None
        renewable = self._credentials.can_renew(error)
        if not self._first.done():
            final = isinstance(error, TokenError | ConfigError) or (is_final(error) and not renewable)
            if final or not in_time:
                self._fail_first(error)
                return False
        elif self._stopping.is_set():
            return True  # and the loop ends
        elif refusal := self._credentials.refusal(error):
            self._refused(refusal)
            return False
        elif renewable and was_open:
            log.info("the token has expired: connecting again with a new one")
        else:
            self._say_lost(error)
        return True

    def _refused(self, error: StatusError) -> None:
        log.error("%s does not let this publisher in any more: %s", self.targets, error)
        if self.on_refused is not None:
            self.on_refused(error)

    def _say_lost(self, error: LanecastError) -> None:
        """Log the loss of a connection once, not each attempt to replace it."""
        if isinstance(error, OtherLogError) and str(error) not in self._foreign:
            self._foreign.add(str(error))
            log.error("%s", error)
            return
        level = logging.DEBUG if self._lost else logging.WARNING
        self._lost = True
        log.log(level, "no connection to %s, trying again: %s", self.targets, error)

    def _fail_first(self, error: LanecastError) -> None:
        assert self._first is not None
        if not is_final(error) and not isinstance(error, TokenError | ConfigError):
            error = unreachable(self.targets, self._settings.connect_timeout, error)
        self._first.set_exception(error)
        self._first.exception()  # connect() may have been cancelled; then nobody is left to be told

    async def _pause(self, seconds: float) -> None:
        """Wait before the next attempt, or until the link is closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _session(self, target: str, timeout_seconds: float) -> bool:
        """Open one stream and serve it until it ends; return True where it was left for a target that is preferred."""
        token = await self._credentials.token(timeout_seconds)
        async with PublishStream(target, self.targets.tls) as stream:
            opened = await stream.open(self._source, timeout_seconds, token)
            self._begin(stream, opened)
            try:
                return await self._serve(stream)
            finally:
                self.target = ""
                self._outbox.disconnected()
                self._settle()

    def _begin(self, stream: PublishStream, opened: PublishOpened) -> None:
        standing = self._ring.opened(stream.target, opened.log_id, asyncio.get_running_loop().time())
        if standing is Standing.FOREIGN:
            raise OtherLogError(stream.target)
        if standing is Standing.REPLACED and not self._settings.any_log:
            log.error("the event log behind %s was replaced by another: what is unacknowledged fails", self.targets)
            self._outbox.log_changed()
        self.connections += 1
        self.target = stream.target
        if self._lost:
            self._lost = False
            log.warning("connected again, to %s", self.target)
        self._outbox.opened(opened)
        if self.on_opened is not None:
            self.on_opened(opened)
        assert self._first is not None
        if not self._first.done():
            self._first.set_result(None)

    async def _serve(self, stream: PublishStream) -> bool:
        """Serve an open stream until it ends; see `_session`."""
        settings, ring, pulse = self._settings, self._ring, vitals.Pulse()
        health = vitals.watch(stream.channel, stream.target, pulse, settings.health_seconds, has_choice=ring.has_choice)
        reader = asyncio.create_task(self._read(stream, pulse), name="lanecast-publisher-read")
        writer = asyncio.create_task(self._write(stream), name="lanecast-publisher-write")
        watcher = asyncio.create_task(health, name="lanecast-publisher-health")
        homing = asyncio.create_task(self._go_home(ring.preferred(stream.target)), name="lanecast-publisher-return")
        tasks = (reader, writer, watcher, homing)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if (writer.done() and writer.exception() is None and self._stopping.is_set()) or (
                homing.done() and not self._outbox.drained
            ):
                await asyncio.wait((reader, watcher), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            return homing.done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _go_home(self, targets: list[str]) -> None:
        """Send nothing more once one of `targets` serves."""
        name = await vitals.preferred_is_back(targets, self._settings.return_seconds, self.targets.tls)
        log.info("%s serves again: returning to it", name)
        self._outbox.drain()

    # Serving a stream

    async def _read(self, stream: PublishStream, pulse: vitals.Pulse) -> None:
        """Take the service's messages until the stream ends or has nothing more to say."""
        outbox, loop = self._outbox, asyncio.get_running_loop()
        while True:
            try:
                response = await stream.read()
                pulse.beats += 1
                if response is None:
                    if not self._stopping.is_set():
                        raise UnavailableError(f"{stream.target} ended the stream")
                    return
                kind = response.WhichOneof("response")
                if kind == "acks":
                    outbox.acknowledge(response.acks, loop.time())
                    self._settle()
                elif kind == "credit":
                    outbox.grant(response.credit.bytes)
                elif kind == "drain":
                    outbox.drain()
                elif kind == "closed":
                    return
            except (DecodeError, ProtocolError) as error:
                raise UnavailableError(f"{stream.target} does not keep to the protocol: {error}") from error
            if outbox.drained:
                return
            if outbox.has_queued:
                self._wake()

    async def _write(self, stream: PublishStream) -> None:
        """Write what the outbox has, whenever the transport takes it."""
        outbox, loop = self._outbox, asyncio.get_running_loop()
        while not outbox.reconnect_wanted:
            now = loop.time()
            outbox.expire(now)
            message = outbox.next_message(now, time.time_ns())
            self._settle()
            if message is not None:
                await stream.write(message)
            elif self._stopping.is_set():
                await stream.finish()
                return
            else:
                await self._sleep(outbox.wake_at(now))

    async def _sleep(self, until: float | None) -> None:
        """Wait for `_wake`, or for a time."""
        self._waker = asyncio.get_running_loop().create_future()
        try:
            if until is not None:
                self._arm(until)
            await self._waker
        finally:
            self._waker = None
            self._timer_at = _NEVER
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _arm(self, at: float) -> None:
        """Wake the writer at a time, which is at once where it is past."""
        assert self._waker is not None
        loop = self._waker.get_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = at
        if at <= loop.time():
            self._wake()
        else:
            self._timer = loop.call_at(at, self._wake)

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None and not waker.done():
            waker.set_result(None)
