"""The event log on a JetStream stream that any number of publishers share.

Owns the parts and their order of starting and stopping; implements `base.EventLog`; built by `app`. An event is handed
over, and its append ends, when this publisher's own reader has read it: so all publishers hand over the same events in
the same order, whoever appended them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lanecast.core.position import Lineage
from lanecast.errors import StartError
from publisher_svc.log.base import ChannelLane, Entry, LogError, Page, Sink, StoredEvent
from publisher_svc.log.jetstream.appender import Appender
from publisher_svc.log.jetstream.core.fold import LogFold, Warming
from publisher_svc.log.jetstream.core.layout import first_kept, queue_of, sequence_of
from publisher_svc.log.jetstream.core.packing import View, entry_of, unpack
from publisher_svc.log.jetstream.core.replies import Place
from publisher_svc.log.jetstream.core.window import SETTLING_NS
from publisher_svc.log.jetstream.durability import check_durability
from publisher_svc.log.jetstream.link import Link, LinkError
from publisher_svc.log.jetstream.pages import PageReader
from publisher_svc.log.jetstream.reader import StreamReader
from publisher_svc.log.jetstream.settings import JetStreamSettings
from publisher_svc.log.jetstream.state import load_state, save_state
from publisher_svc.log.jetstream.stream import StreamFacts, begin_epoch, look, open_stream

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_SECONDS = 0.2
_BEHIND_SECONDS = 15.0
"""How long a stream may seem to have gone back before that is believed: a new leader first catches up."""


class JetStreamEventLog:
    """See `base.EventLog`."""

    overlapping = True
    needs_sync = False

    def __init__(self, settings: JetStreamSettings, on_failure: Callable[[LogError], None]) -> None:
        self._settings = settings
        self._on_failure = on_failure
        self._link = Link(settings)
        self._sink: Sink = _nowhere
        self._failure: LogError | None = None
        self._behind_since = 0.0
        self._moved = asyncio.Event()
        self._closed = False

    @classmethod
    async def open(
        cls, settings: JetStreamSettings, on_failure: Callable[[LogError], None] | None = None
    ) -> JetStreamEventLog:
        """Connect, make or check the stream, and read what is needed to go on.

        Args:
            settings: Where the servers are, and the rest.
            on_failure: Called once where the log cannot go on and the process must end.

        Raises:
            StartError: something of that is not possible; says what to do.
        """
        self = cls(settings, on_failure or _nobody)
        try:
            async with asyncio.timeout(settings.waits.start):
                await self._open()
        except TimeoutError as error:
            await self.close()
            raise StartError(
                f"the stream {settings.stream} did not answer within {settings.waits.start:g} s: see whether its "
                "servers run and have a leader"
            ) from error
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def lineage(self) -> Lineage:
        return self._facts.lineage

    @property
    def end_offset(self) -> int:
        return self._fold.end_offset

    @property
    def first_offset(self) -> int:
        return first_kept(self._facts.first_sequence)

    def head(self, key: ChannelLane) -> int:
        return self._fold.head(key)

    def heads(self) -> dict[ChannelLane, int]:
        return self._fold.heads()

    def queue_of(self, key: ChannelLane) -> int:
        return queue_of(key, self._facts.partitions)

    def deliver_to(self, sink: Sink) -> None:
        self._sink = sink

    def append_nowait(self, entries: Sequence[Entry]) -> bool:
        del entries
        return False

    async def append(self, entries: Sequence[Entry]) -> None:
        await self._appender.append(entries)

    async def sync(self) -> None:
        """Do nothing: what was appended is as safe as the servers make it."""

    async def read(self, key: ChannelLane, after: int, limit: int) -> Page:
        return await self._in_time(lambda: self._pages.read(key, after, limit, max(1, self._facts.first_sequence)))

    async def floor_of_last(self, key: ChannelLane, count: int) -> int:
        return await self._in_time(lambda: self._pages.floor_of_last(key, count, max(1, self._facts.first_sequence)))

    async def get(self, offset: int) -> StoredEvent | None:
        return await self._in_time(lambda: self._pages.get(offset))

    async def reach(self, offset: int) -> None:
        if offset <= self._fold.end_offset:
            return
        await self._in_time(lambda: self._reach(sequence_of(offset)))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for name in ("_reader", "_appender"):
            part = getattr(self, name, None)
            if part is not None:
                await part.close()
        await self._link.close()
        if hasattr(self, "_fold") and self._failure is None:
            self._remember()

    # Starting

    async def _open(self) -> None:
        await check_durability(self._settings)
        await self._link.open()
        self._facts = await self._patiently(lambda: open_stream(self._link, self._settings))
        await self._compare_with_memory()
        facts = self._facts
        since = max(0, facts.last_time_ns - 2 * SETTLING_NS) if facts.last_sequence >= facts.first_sequence else None
        self._fold = LogFold(
            None if since is None else Warming(since + SETTLING_NS),
            lambda message, record: entry_of(message, record, time.time_ns(), time.monotonic_ns()),
        )
        self._begun = since is None
        if since is None:
            self._fold.begin_at(facts.last_sequence)
        self._pages = PageReader(self._link, self._settings, self._fold, facts.partitions)
        self._appender = Appender(self._link, self._settings, facts.partitions, self._view)
        self._reader = StreamReader(self._link, self._settings, self._on_message, self._on_look)
        self._reader.start(facts.last_sequence if since is None else 0, since, self._fail)
        await self._until(lambda: self._fold.sequence >= facts.last_sequence)
        self._fold.stop_warming()

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until it works; the caller has a deadline."""
        while True:
            try:
                return await attempt()
            except LinkError as error:
                log.info("waiting for the stream: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
            await self._link.connected()

    async def _compare_with_memory(self) -> None:
        """Begin a new epoch where the stream has less than this publisher once read: it was restored, or lost data."""
        epoch, sequence = load_state(self._settings.state)
        deadline = asyncio.get_running_loop().time() + self._settings.waits.request
        while epoch == self._facts.lineage.current and self._facts.last_sequence < sequence:
            if asyncio.get_running_loop().time() > deadline:
                last = self._facts.last_sequence
                log.error("the stream has gone back from message %d to %d: a new epoch begins", sequence, last)
                self._facts = await self._patiently(lambda: begin_epoch(self._link, self._settings, self._facts))
                return
            await asyncio.sleep(_RETRY_SECONDS)
            self._facts = await self._patiently(lambda: look(self._link, self._settings))

    # Reading

    def _view(self) -> View:
        return View(self._fold.head, self._fold.end_offset, time.time_ns() - time.monotonic_ns())

    def _on_message(self, subject: str, place: Place, data: bytes, message_id: str) -> None:
        message = unpack(subject, place.sequence, place.time_ns, data)
        if not self._begun:
            self._begun = True
            self._fold.begin_at(place.sequence - 1)
            if place.sequence == 1:
                self._fold.stop_warming()
        own = self._appender.own(message.partition, message.lane, message_id)
        fresh = self._fold.read(message, own)
        if fresh:
            self._sink(fresh)
        self._appender.read(message.partition, message.lane, message_id)
        self._moved.set()

    async def _on_look(self, facts: StreamFacts) -> None:
        """Take note of how the stream is; end where it is no longer the one that was read."""
        if facts.lineage.current != self._facts.lineage.current or facts.partitions != self._facts.partitions:
            raise LogError("the stream was made anew, restored, or another publisher saw it go back: restart")
        sequence = self._fold.sequence
        if facts.last_sequence < sequence:
            await self._on_behind(facts, sequence)
        self._behind_since = 0.0
        self._facts = facts
        self._fold.forget_before(facts.first_sequence)
        self._remember()

    async def _on_behind(self, facts: StreamFacts, sequence: int) -> None:
        now = asyncio.get_running_loop().time()
        self._behind_since = self._behind_since or now
        gone_back = f"the stream has gone back from message {sequence} to {facts.last_sequence}"
        if now - self._behind_since < _BEHIND_SECONDS:
            raise LinkError(f"{gone_back}; perhaps its leader catches up")
        await begin_epoch(self._link, self._settings, facts)
        raise LogError(f"{gone_back}: it was restored or has lost data; a new epoch begins at the next start")

    def _remember(self) -> None:
        save_state(self._settings.state, self._facts.lineage.current, self._fold.sequence)

    def _fail(self, error: LogError) -> None:
        log.critical("the event log cannot go on: %s", error)
        self._failure = error
        self._appender.fail(error)
        self._moved.set()
        self._on_failure(error)

    # Waiting

    async def _reach(self, sequence: int) -> None:
        facts = await self._patiently(lambda: look(self._link, self._settings))
        if sequence <= facts.last_sequence:
            await self._until(lambda: self._fold.sequence >= sequence)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            if self._failure is not None:
                raise StartError(str(self._failure))
            self._moved.clear()
            await self._moved.wait()

    async def _in_time(self, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out a read, within its deadline."""
        if self._failure is not None:
            raise self._failure
        try:
            async with asyncio.timeout(self._settings.waits.read):
                return await work()
        except TimeoutError as error:
            raise LogError(f"the stream did not answer within {self._settings.waits.read:g} s") from error


def _nowhere(entries: Sequence[Entry]) -> None:
    """Take events of before anybody is there: they are found by reading."""


def _nobody(error: LogError) -> None:
    """Take the end of a log that nobody watches: whoever uses it gets the error."""
