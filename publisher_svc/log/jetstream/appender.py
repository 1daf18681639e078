"""Sending what waits in the append queues.

Owns one task per partition and lane that has something to send, and the deadlines of those who wait. The rules are in
`core.queue`; this carries them out over the link.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence

from lanecast.core.priority import Priority
from publisher_svc.log.base import Entry, LogError
from publisher_svc.log.jetstream.core.layout import queue_number, queue_of, queue_place, subject_of
from publisher_svc.log.jetstream.core.packing import View, pack
from publisher_svc.log.jetstream.core.queue import Append, AppendQueue, Packed
from publisher_svc.log.jetstream.core.replies import Again, Refused, Stored, answer_of
from publisher_svc.log.jetstream.link import Link, LinkError
from publisher_svc.log.jetstream.settings import JetStreamSettings

log = logging.getLogger(__name__)

_BACKOFF_SECONDS = (0.02, 0.05, 0.1, 0.25)
_WATCH_SECONDS = 0.25


class Appender:
    """See the module's first lines."""

    def __init__(self, link: Link, settings: JetStreamSettings, partitions: int, view: Callable[[], View]) -> None:
        self._link = link
        self._settings = settings
        self._partitions = partitions
        self._view = view
        self._queues: dict[int, AppendQueue] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        nonce = secrets.token_hex(6)
        numbers = itertools.count(1)
        self._new_id = lambda: f"{nonce}-{next(numbers)}"
        self._failure: LogError | None = None

    async def append(self, entries: Sequence[Entry]) -> None:
        """Return once all entries are stored and read, or are repetitions of such.

        Raises:
            LogError: this is not known of all of them.
        """
        if self._failure is not None:
            raise self._failure
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.append.append_seconds
        parts: dict[int, list[Entry]] = {}
        for entry in entries:
            parts.setdefault(queue_of(entry.key, self._partitions), []).append(entry)
        waiting: list[asyncio.Future[LogError | None]] = []
        for number, part in parts.items():
            future: asyncio.Future[LogError | None] = loop.create_future()
            waiting.append(future)
            self._queue(number).add(Append(part, deadline, _setter(future)))
            self._wake(number)
        for future in waiting:
            error = await future
            if error is not None:
                raise error

    def own(self, partition: int, lane: Priority, message_id: str) -> Sequence[Entry] | None:
        """Return the entries of a message of ours that was read, while somebody waits for them."""
        queue = self._queues.get(queue_number(partition, lane))
        return queue.own(message_id) if queue is not None and message_id else None

    def read(self, partition: int, lane: Priority, message_id: str) -> None:
        """Note that a message has been read."""
        queue = self._queues.get(queue_number(partition, lane))
        if queue is not None and message_id:
            queue.read(message_id)

    def fail(self, error: LogError) -> None:
        """Fail everything that waits, and all that comes."""
        self._failure = error
        for queue in self._queues.values():
            queue.fail_all(error)

    async def close(self) -> None:
        """Stop sending. Idempotent."""
        self.fail(LogError("the event log is closed"))
        tasks = [*self._tasks.values(), *([self._watch] if self._watch is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._watch = None

    def _queue(self, number: int) -> AppendQueue:
        queue = self._queues.get(number)
        if queue is None:
            queue = AppendQueue(self._settings.append, lambda entries: pack(entries, self._view()), self._new_id)
            self._queues[number] = queue
        return queue

    def _wake(self, number: int) -> None:
        running = self._tasks.get(number)
        if running is None or running.done():  # one that is done may not have been told so yet
            task = asyncio.create_task(self._send(number), name=f"append-{number}")
            self._tasks[number] = task
            task.add_done_callback(lambda done: self._on_sent(number, done))
        if self._watch is None:
            self._watch = asyncio.create_task(self._expire(), name="append-deadlines")

    def _on_sent(self, number: int, task: asyncio.Task[None]) -> None:
        if self._tasks.get(number) is task:
            del self._tasks[number]
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("appending stopped", exc_info=error)
            self._queues[number].fail_all(LogError(f"appending failed: {error}"))

    async def _send(self, number: int) -> None:
        """Send until the queue is empty."""
        queue = self._queues[number]
        subject = subject_of(self._settings.prefix, *queue_place(number))
        loop = asyncio.get_running_loop()
        failures = 0
        while (packed := queue.take(loop.time())) is not None:
            answer = await self._attempt(subject, packed)
            if isinstance(answer, Stored):
                queue.stored(packed, answer.sequence)
                failures = 0
            elif isinstance(answer, Refused):
                queue.refused(packed, answer.error)
            else:
                log.info("message %s is sent again: %s", packed.id, answer.why)
                await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                failures += 1

    async def _attempt(self, subject: str, packed: Packed) -> Stored | Again | Refused:
        waits = self._settings.waits
        headers = {"Nats-Msg-Id": packed.id, "Nats-Expected-Stream": self._settings.stream}
        try:
            await self._link.connected(waits.attempt)
            message = await self._link.request(subject, packed.data, waits.attempt, headers)
        except LinkError as error:
            return Again(str(error))
        return answer_of(message.data, self._settings.stream)

    async def _expire(self) -> None:
        """Tell those whose time is over, also while an attempt is under way."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for queue in self._queues.values():
                queue.expire(loop.time())


def _setter(future: asyncio.Future[LogError | None]) -> Callable[[LogError | None], None]:
    def set_result(error: LogError | None) -> None:
        if not future.done():
            future.set_result(error)

    return set_result
