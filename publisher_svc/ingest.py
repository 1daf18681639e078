"""From accepted events to committed, acknowledged and dispatched ones.

Owns the way of an event through publisher_svc: check, wait for its turn, commit, keep in the tail, dispatch,
acknowledge. Called by the publish service; the only writer of the log. What arrives is committed at once where the log
can do that, otherwise by a task: express lanes first, bulk lanes in small slices, so that a CRITICAL event never waits
for more than one small commit. Where an acknowledgement has to wait for the disk, delivery and further commits do not:
what was committed meanwhile shares the next flush. A flush that fails is final (`on_failure`): nothing is acknowledged
any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Literal, cast

import uuid_utils

from lanecast.core import wire
from lanecast.core.channel import RESERVED_PREFIX, is_reserved
from lanecast.core.instruments import (
    EVENT_ACCEPTED,
    EVENT_DUPLICATE,
    EVENT_REJECTED,
    SYNTHETIC_ACCEPTED,
    Instruments,
)
from lanecast.core.limits import BULK_BATCH_EVENTS
from lanecast.core.priority import EXPRESS_LANES, LANES, Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.acceptance import EventReader, Submission, Waiting, bind
from publisher_svc.core import admission
from publisher_svc.core.activity import Activity
from publisher_svc.core.admission import LoadLimit, ProducerOrder, Publication, Refusal
from publisher_svc.core.arms import Arms
from publisher_svc.core.expiry import NANOS_PER_MILLI, marked
from publisher_svc.core.group import Group, groups_of
from publisher_svc.core.quota import Screen
from publisher_svc.core.registry import TypeRegistry
from publisher_svc.core.sparing import Sparing
from publisher_svc.core.tail import Tail
from publisher_svc.core.tracing import Tracing
from publisher_svc.hub import Hub, Receiver
from publisher_svc.log.base import ChannelLane, Entry, EventLog, LogError

log = logging.getLogger(__name__)

_EXPRESS_SLICE = 256
_SHARED_SLICE = 32
_LANES = {int(lane): lane for lane in LANES}
_OURS: tuple[Literal["offset", "prev_offset", "accept_time_unix_nano", "store_time_unix_nano"], ...] = (
    "offset", "prev_offset", "accept_time_unix_nano", "store_time_unix_nano",
)  # fmt: skip
"""Fields of an event that only the service sets."""
_READ = {Waiting}
"""The types of events that `read` has let pass."""
_RESERVED_CHAR = RESERVED_PREFIX[0]
_MAX_HEADS = 100_000
_COUNTED = 1_000
"""Most waiting events that are looked at to say how many wait."""


class Ingest:
    """Takes events in and sees them through; see the module's first lines."""

    def __init__(
        self,
        event_log: EventLog,
        registry: TypeRegistry,
        hub: Hub,
        tail: Tail,
        instruments: Instruments,
        limit: LoadLimit,
        arms: Arms,
        activity: Activity,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._log = event_log
        self._needs_sync = event_log.needs_sync
        self._on_failure = on_failure
        self._unsynced: list[list[Waiting]] = []
        """Committed, but not to be acknowledged before the next flush."""
        self._committed = asyncio.Event()
        self._synced = asyncio.Event()
        self._synced.set()
        event_log.deliver_to(self._dispatch)
        self._registry = registry
        self._reader = EventReader(registry)
        self._hub = hub
        self._tail = tail
        self._limit = limit
        self._arms = arms
        self._express: deque[Waiting] = deque()
        self._bulk: deque[Waiting] = deque()
        self._put_off: list[Waiting] = []
        """Taken from the queues, and to be committed before anything in them."""
        self._waiting_for_log = False
        self._timed = event_log.overlapping
        """True once an event with a time to live has come, or may come from another publisher."""
        self._overlapping: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._heads: dict[ChannelLane, bytes] = {}
        self.tracing: Tracing | None = None
        """None: no spans are exported."""
        self._accepted = {lane: instruments.counter(EVENT_ACCEPTED, lane=lane.name) for lane in LANES}
        self._duplicate = {lane: instruments.counter(EVENT_DUPLICATE, lane=lane.name) for lane in LANES}
        self._synthetic = {lane: instruments.counter(SYNTHETIC_ACCEPTED, lane=lane.name) for lane in LANES}
        self._rejected = _RejectionCounters(instruments)
        self._activity = activity
        self._refusals = Sparing()

    def start(self) -> None:
        """Begin to commit."""
        self._tasks = [
            asyncio.create_task(self._run(), name="ingest"),
            asyncio.create_task(self._run_sync(), name="ingest-sync"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._on_task_done)

    async def drain(self) -> None:
        """Return once everything submitted has been answered, and stop. Nothing may be submitted afterwards."""
        await self._idle.wait()
        while self._overlapping:
            await asyncio.gather(*self._overlapping, return_exceptions=True)
        await self._synced.wait()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:  # nobody would commit any more, and publishers would wait for ever
            self._on_failure(error)

    def queued(self, lane: Priority) -> tuple[int, int]:
        """Return about how many events of a lane wait to be committed, and when the oldest was accepted; 0: none."""
        queue = self._express if lane in EXPRESS_LANES else self._bulk
        step = len(queue) // _COUNTED + 1  # a long queue is counted by a part of it
        counted = [each.accept_ns for each in islice(queue, 0, None, step) if each.lane is lane]
        return len(counted) * step, min(counted, default=0)

    def read(self, events: Iterable[bytes], source: str) -> list[Waiting | Event]:
        """Read serialised events as they come off the wire, for `submit`; see `EventReader.read`."""
        return self._reader.read(events, source, time.time_ns())

    def submit(
        self,
        events: Sequence[Waiting | Event],
        source: str,
        order: ProducerOrder,
        on_done: Callable[[Submission], None],
        screen: Screen | None = None,
    ) -> Submission:
        """Check events and queue them for the log; `on_done` is called once each has its result, possibly at once."""
        submission = Submission(order, on_done)
        limit = self._limit
        if screen is None and not order.fences and limit.is_low(len(events)) and {*map(type, events)} == _READ:
            let_in = cast("list[Waiting]", events)  # nothing is left to be asked about any of them
            submission.open, submission.size = len(let_in), sum([waiting.size for waiting in let_in])
            limit.add(submission.size, submission.open)
        else:
            let_in = self._examine(events, source, submission, screen)
            if not let_in:
                on_done(submission)
                return submission
        whole = submission if submission.open == len(events) else None
        if self._waiting_for_log or self._express or self._bulk or self._put_off or not _is_slice(let_in):
            if whole is not None:
                bind(let_in, whole)
                whole = None
            for waiting in let_in:
                (self._express if waiting.lane in EXPRESS_LANES else self._bulk).append(waiting)
            let_in = []
        if not self._waiting_for_log:
            self._commit_at_once(let_in or self._put_off or self._next_slice(), whole)
        if self._express or self._bulk or self._put_off:
            self._idle.clear()
            self._wake.set()
        return submission

    def _examine(
        self, events: Sequence[Waiting | Event], source: str, submission: Submission, screen: Screen | None
    ) -> list[Waiting]:
        """Return the events that nothing speaks against; the others have their results."""
        accept_ns, order = time.time_ns(), submission.order
        refuse = self._refuse_anonymous if screen is None else screen.around(self._refuse)
        let_in: list[Waiting] = []
        refused: dict[int, Refusal] = {}
        places: list[int] = []
        for index, event in enumerate(events):
            refusal = refuse(event, order)
            if refusal is None:
                waiting = self._let_in(event, source, accept_ns) if isinstance(event, Event) else event
                let_in.append(waiting)
                places.append(index)
                submission.size += waiting.size
                self._limit.add(waiting.size)
                continue
            refused[index] = refusal
            order.settle(event.channel, event.priority, event.id, refusal)
            self._rejected.add(event.priority, refusal.reason, event.channel)
        submission.open = len(let_in)
        if refused:
            submission.results = [refused.get(index) for index in range(len(events))]
            for waiting, index in zip(let_in, places, strict=True):
                waiting.submission, waiting.index = submission, index
        return let_in

    def _refuse_anonymous(self, event: Publication, order: ProducerOrder) -> Refusal | None:
        if event.channel.startswith(RESERVED_PREFIX):
            return admission.reserved(event)
        return self._refuse(event, order)

    def _refuse(self, event: Publication, order: ProducerOrder) -> Refusal | None:
        if isinstance(event, Event):
            refusal = admission.check_event(event, self._registry)
            if refusal is not None:
                return refusal
        if order.fences and not order.passes(event):
            return admission.out_of_order()
        return self._limit.refuse(_LANES[event.priority])

    def _let_in(self, event: Event, source: str, accept_ns: int) -> Waiting:
        if not event.id:
            event.id = str(uuid_utils.uuid7())
        if source and not event.source:
            event.source = source
        if event.offset or event.prev_offset or event.accept_time_unix_nano or event.store_time_unix_nano:
            for name in _OURS:
                event.ClearField(name)
        key = (event.channel, _LANES[event.priority])
        waiting = Waiting(key, event.id, event.SerializeToString(), accept_ns, event)
        if event.ttl_millis:
            waiting.ends_ns = time.monotonic_ns() + event.ttl_millis * NANOS_PER_MILLI
            self._timed = True
        return waiting

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._express or self._bulk or self._put_off:
                batch, self._put_off = self._put_off or self._next_slice(), []
                if self._log.overlapping:
                    self._begin(batch)
                else:
                    await self._commit(batch)
                await asyncio.sleep(0)  # an express event that has arrived meanwhile goes next
            self._idle.set()

    def _begin(self, batch: list[Waiting]) -> None:
        """Commit beside what is under way. Events of different queues do not wait for one another's answer."""
        queues: dict[int, list[Waiting]] = {}
        for waiting in batch:
            queues.setdefault(self._log.queue_of(waiting.key), []).append(waiting)
        for part in queues.values():
            task = asyncio.create_task(self._commit(part), name="overlapping-commit")
            self._overlapping.add(task)
            task.add_done_callback(self._overlapping.discard)
            task.add_done_callback(self._on_task_done)

    def _next_slice(self) -> list[Waiting]:
        """Take what is committed next. A commit has its price: HIGH takes a little bulk along, CRITICAL does not."""
        express, bulk = self._express, self._bulk
        batch = [express.popleft() for _ in range(min(_EXPRESS_SLICE, len(express)))]
        if not batch:
            return [bulk.popleft() for _ in range(min(BULK_BATCH_EVENTS, len(bulk)))]
        if len(batch) + len(bulk) <= _SHARED_SLICE and all(w.lane is not Priority.CRITICAL for w in batch):
            batch += bulk
            bulk.clear()
        return batch

    def _commit_at_once(self, batch: list[Waiting], whole: Submission | None = None) -> None:
        """Commit a slice here and now, as long as the log need not wait: waking a task costs as much again.

        Args:
            batch: The slice.
            whole: The submission that these events are all of, where they do not know it yet.
        """
        self._put_off = []
        try:
            stored = self._log.append_nowait(batch)
        except LogError as error:
            if whole is not None:
                bind(batch, whole)
            self._refuse_all(batch, error)
            return
        if stored and whole is not None and not self._needs_sync:
            self._trace(batch)
            self._settle_whole(batch, whole)
            return
        if whole is not None:
            bind(batch, whole)
        if not stored:
            self._put_off = batch
            return
        self._trace(batch)
        if self._needs_sync:
            self._acknowledge_later(batch)
        else:
            self._settle_stored(batch)

    async def _commit(self, batch: list[Waiting]) -> None:
        self._waiting_for_log = not self._log.overlapping
        try:
            await self._log.append(batch)
        except LogError as error:
            self._refuse_all(batch, error)
            return
        finally:
            self._waiting_for_log = False
        self._trace(batch)
        if self._needs_sync:
            self._acknowledge_later(batch)
        else:
            await self._acknowledge(batch)

    def _acknowledge_later(self, batch: list[Waiting]) -> None:
        self._unsynced.append(batch)
        self._synced.clear()
        self._committed.set()

    async def _run_sync(self) -> None:
        while True:
            await self._committed.wait()
            self._committed.clear()
            while self._unsynced:
                batches, self._unsynced = self._unsynced, []
                await self._log.sync()  # its failure ends this task, see `_on_task_done`
                for batch in batches:
                    await self._acknowledge(batch)
            self._synced.set()

    async def _acknowledge(self, batch: list[Waiting]) -> None:
        for waiting in batch:
            self._settle(waiting, await self._check_reuse(waiting) if waiting.duplicate else None)

    def _refuse_all(self, batch: list[Waiting], error: LogError) -> None:
        """Refuse what could not be stored, and whatever waits behind it in a producer's channel and lane."""
        if refused := self._refusals.add(len(batch), time.monotonic()):
            log.error("%d events were refused: %s", refused, error)
        refusal = admission.not_stored(str(error))
        for waiting in batch:
            waiting.submission.order.hold(waiting.channel, waiting.lane, waiting.event_id)
        failed = {(waiting.submission.order, waiting.key) for waiting in batch}
        for waiting in batch:
            self._settle(waiting, refusal)
        for queue in (self._express, self._bulk):
            for waiting in [each for each in queue if (each.submission.order, each.key) in failed]:
                queue.remove(waiting)
                self._settle(waiting, admission.out_of_order())

    def _dispatch(self, fresh: Sequence[Entry]) -> None:
        """Keep new events in the tail and offer them to subscribers, grouped by channel and lane in log order."""
        now_ns = time.time_ns()
        stored = wire.event_store_time(now_ns)
        self._tail.add(fresh)
        subscribed, heads = self._hub.subscribed, self._heads
        offers: dict[tuple[Receiver, ...], list[Group]] = {}
        if self._timed or len({entry.key for entry in fresh}) < len(fresh):
            self._group(fresh, stored, offers)
        else:
            last: tuple[Receiver, ...] = ()
            groups: list[Group] = []
            for entry in fresh:  # as good as always where there are many channels: each event is a group of its own
                key = entry.key
                receivers = subscribed.get(key)
                if receivers is not None:
                    data = entry.data + stored
                    head = heads.get(key) or self.batch_head(key)
                    if receivers is not last:
                        last, groups = receivers, offers.setdefault(receivers, [])
                    groups.append(Group(key[0], key[1], head, [data], entry.offset, len(data)))
        for receivers, groups in offers.items():
            for receiver in receivers:
                receiver.offer(groups, now_ns)

    def _group(self, fresh: Sequence[Entry], stored: bytes, offers: dict[tuple[Receiver, ...], list[Group]]) -> None:
        """Put events into groups by channel and lane, and these to those who take them."""
        wanted: dict[ChannelLane, list[Entry]] = {}
        for entry in fresh:
            wanted.setdefault(entry.key, []).append(entry)
        for key, entries in wanted.items():
            receivers = self._hub.subscribed.get(key)
            if receivers is None:
                continue
            head = self.batch_head(key)
            groups: Iterable[Group]
            groups = groups_of(*key, head, [(entry.offset, entry.data + stored) for entry in entries])
            if self._timed and any(entry.ends_ns for entry in entries):
                groups = marked(groups, [(entry.offset, entry.prev_offset, entry.ends_ns) for entry in entries])
            offers.setdefault(receivers, []).extend(groups)

    def _trace(self, batch: list[Waiting]) -> None:
        """Note the spans of what was committed, after everything that somebody waits for."""
        if self.tracing is not None:
            parsed = [(each, each.event) for each in batch if each.event is not None]
            self.tracing.committed(parsed, len(batch), time.time_ns())

    def batch_head(self, key: ChannelLane) -> bytes:
        """Return `wire.batch_head` of a channel and lane."""
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            policy, arm = self._arms.serve(*key)
            epoch = self._log.lineage.current
            head = self._heads[key] = wire.batch_head(*key, epoch, policy, arm, self._arms.generation)
        return head

    def forget_heads(self) -> None:
        """Make `batch_head` anew: the assignment of channels to policies has changed."""
        self._heads.clear()

    async def _check_reuse(self, waiting: Waiting) -> Refusal | None:
        """Tell a retry from an id that was used for another payload."""
        try:
            first = await self._log.get(waiting.offset)
        except LogError as error:
            return admission.not_stored(str(error))
        if first is None or Event.FromString(first.data).data == Event.FromString(waiting.data).data:
            return None
        return admission.id_reused(waiting.event_id)

    def _settle(self, waiting: Waiting, refusal: Refusal | None) -> None:
        if refusal is None and not waiting.duplicate:
            self._settle_stored([waiting])
            return
        submission = waiting.submission
        self._limit.remove(waiting.size)
        if refusal is not None:
            submission.order.settle(waiting.channel, waiting.lane, waiting.event_id, refusal)
            self._rejected.add(waiting.lane, refusal.reason, waiting.channel)
        else:
            if submission.order.fences:
                submission.order.settle(waiting.channel, waiting.lane, waiting.event_id, None)
            counters = self._synthetic if is_reserved(waiting.channel) else self._duplicate
            counters[waiting.lane].add()
        _answer(waiting, waiting if refusal is None else refusal)

    def _settle_stored(self, batch: list[Waiting]) -> None:
        """Count and answer events that were stored, none of which was there already."""
        self._limit.remove(sum([waiting.size for waiting in batch]), len(batch))
        for waiting in batch:
            order = waiting.submission.order
            if order.fences:
                order.settle(waiting.channel, waiting.lane, waiting.event_id, None)
        self._count(batch)
        for waiting in batch:
            _answer(waiting, waiting)

    def _settle_whole(self, batch: list[Waiting], submission: Submission) -> None:
        """Count and answer a submission that was stored in the step in which it came."""
        self._limit.remove(submission.size, len(batch))
        order = submission.order
        if order.fences:
            for waiting in batch:
                order.settle(waiting.channel, waiting.lane, waiting.event_id, None)
        self._count(batch)
        first = batch[0].offset
        if batch[-1].offset - first == len(batch) - 1:
            submission.run = first
        submission.results, submission.open = batch, 0
        submission.on_done(submission)

    def _count(self, batch: list[Waiting]) -> None:
        keys = [waiting.key for waiting in batch]
        counters = self._accepted
        if _RESERVED_CHAR in {channel[0] for channel, _ in keys}:
            for channel, lane in keys:
                if is_reserved(channel):
                    self._synthetic[lane].add()
            keys = [key for key in keys if not is_reserved(key[0])]
        lanes = [lane for _, lane in keys]
        for lane in {*lanes}:
            counters[lane].value += lanes.count(lane)
        self._activity.count([channel for channel, _ in keys])


def _is_slice(events: Sequence[Waiting]) -> bool:
    """Say whether events that arrived together may be committed together; see `Ingest._next_slice`."""
    if len(events) > _SHARED_SLICE:
        return False
    critical = sum([waiting.key[1] is Priority.CRITICAL for waiting in events])
    return not critical or critical == len(events)


def _answer(waiting: Waiting, result: Entry | Refusal) -> None:
    submission = waiting.submission
    del waiting.submission  # it holds the result: without this they would keep each other until a garbage collection
    submission.results[waiting.index] = result  # type: ignore[index]
    submission.open -= 1
    if not submission.open:
        submission.on_done(submission)


class _RejectionCounters:
    """Counts refusals by lane and reason; the lane of an event that names none is `unknown`.

    What becomes of a performance test is that test's own figure; an outsider's try to publish there is counted.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def add(self, lane: int, reason: str, channel: str) -> None:
        if is_reserved(channel) and reason not in {"CHANNEL_RESERVED", "CHANNEL_FORBIDDEN"}:
            return
        name = Priority(lane).name if lane in set(LANES) else "unknown"
        self._instruments.counter(EVENT_REJECTED, lane=name, reason=reason).add()
