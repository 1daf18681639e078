"""What a publisher holds between hand-over and acknowledgement.

Owns the order of sending, coalescing, credit, matching of answers, retries and expiry. The publishers hand events in
and carry out what it returns. It knows neither futures nor streams: `Entry.waiter` is opaque, time is an argument.

Order. Within a (channel, lane) events go on the wire in the order they were handed over, whatever happens: after a
refusal for the moment the *chain* of that channel and lane is parked until everything of it on the wire is answered and
the delay is over, then goes again from the refused event on. After a disconnect everything unanswered goes again first.

Priority. A message takes CRITICAL events first, then HIGH, NORMAL, LOW. Each lane has a window of unanswered bytes of
its own, so that neither can the credit be used up by one lane, nor can much of NORMAL and LOW lie in front of a
CRITICAL event that has to overtake.

Coalescing. CRITICAL events leave when the stream takes a message. Other lanes do so too while nothing is unanswered;
otherwise they wait for a more urgent event to travel with, for the answers, for a full message, or until their linger
has passed since the message before, whichever is first: a message costs a hundred times what an event in it costs.

Cost. Nearly always nothing is parked, lost or given up, and what the service says is that all is stored. Then whole
queues go, and runs of answers come, without a decision for each event; `_tangled` says when that is not so.
"""

from __future__ import annotations

from collections.abc import Callable

from lanecast.core.limits import DEDUP_WINDOW_SECONDS, MAX_EVENTS_PER_MESSAGE
from lanecast.core.priority import EXPRESS_LANES, LANES, Priority
from lanecast.errors import PublishError
from lanecast.publisher.core.encoding import SEND_STAMP_BYTES, publish_message
from lanecast.publisher.core.entry import Chain, Entry, of_another_log, unconfirmed
from lanecast.publisher.core.outcome import Failed, Outcome, Stored
from lanecast.publisher.core.parking import Parking, by_order
from lanecast.publisher.core.queue import LaneQueue
from lanecast.publisher.core.settings import OutboxSettings
from lanecast.v1.publisher_pb2 import PublishAcks, PublishOpened, PublishResult

_RESOURCE_EXHAUSTED, _ABORTED, _UNAVAILABLE = 8, 10, 14
_RETRYABLE = {_RESOURCE_EXHAUSTED, _ABORTED, _UNAVAILABLE}
_MAX_IDLE_CHAINS = 16_384
_RESEND_SHARE = 2 / 3
"""Share of the service's memory of ids that is used for resending. The rest is for the way: what was sent may lie in a
connection that has stalled or in a process that is stopped, and be stored when that goes on (docs/adr/0013)."""


class ProtocolError(Exception):
    """The service answered something that was never sent."""


_HALF_TICK_SECONDS = 0.0005
"""Event loops count whole milliseconds. What is due within half of one is due: else a timer for the rest of a linger
ends at once, again and again until the clock goes on."""


class Outbox:
    """The bounded buffer of one publisher."""

    def __init__(self, settings: OutboxSettings | None = None) -> None:
        self.settings = settings or OutboxSettings()
        self.reconnect_wanted = False
        """True where the stream must be replaced: the service waits for an event that will not come again."""
        self.draining = False
        self.published = self.acknowledged = self.duplicates = self.failed = 0
        self.retried = self.resent = self.messages = 0
        self.buffered_bytes = 0
        self.credit_bytes = 0
        self._chains: dict[tuple[str, Priority], Chain] = {}
        self._many_chains = _MAX_IDLE_CHAINS
        sizes = self.settings.message_bytes or {}
        self._queues = {lane: LaneQueue(lane, sizes.get(lane)) for lane in LANES}
        self._pending: dict[int, Entry] = {}
        self._in_flight: dict[int, Entry] = {}
        self._parking = Parking()
        self._tangled = False
        """True where a queue may have an entry that is not to be sent, or not without a thought."""
        self._outcomes: list[Outcome] = []
        self._connected = False
        self._max_events = MAX_EVENTS_PER_MESSAGE
        self._full = MAX_EVENTS_PER_MESSAGE // 4
        """Events of a lane that do not wait for company any more."""
        self._most_events, self._most_bytes = self.settings.max_events, self.settings.max_bytes
        self._delivery_seconds = self.settings.delivery_seconds
        self._dedup_seconds = DEDUP_WINDOW_SECONDS * _RESEND_SHARE
        self._stream = 0
        self._sequence = 0
        self._sent_at = self._bulk_sent_at = float("-inf")

    # Hand-over

    @property
    def buffered_events(self) -> int:
        """Events handed over and not answered yet."""
        return len(self._pending)

    @property
    def in_flight_events(self) -> int:
        """Events on the wire and not answered yet."""
        return len(self._in_flight)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of such events."""
        return sum([queue.wire_bytes for queue in self._queues.values()])

    @property
    def has_queued(self) -> bool:
        """True where events wait to be sent."""
        return bool(self._parking) or any(queue.entries for queue in self._queues.values())

    @property
    def last_order(self) -> int:
        """Number of the event handed over last."""
        return self.published

    def chain(self, channel: str, lane: Priority) -> Chain:
        """Return the chain of a channel and lane.

        Raises:
            PublishError: the channel name is not valid.
        """
        found = self._chains.get((channel, lane))
        if found is None:
            if len(self._chains) >= self._many_chains:
                self._forget_idle_chains()
            found = self._chains[channel, lane] = Chain(channel, lane, self._queues[lane])
        return found

    def _forget_idle_chains(self) -> None:
        busy = {entry.chain for entry in list(self._pending.values())}
        self._chains = {key: chain for key, chain in self._chains.items() if chain in busy}
        self._many_chains = max(_MAX_IDLE_CHAINS, 2 * len(busy))

    def has_room(self, size: int, more_events: int = 0, more_bytes: int = 0) -> bool:
        """Say whether an event of `size` bytes fits on top of what is there and what is about to come."""
        events = len(self._pending) + more_events
        if events < self._most_events and self.buffered_bytes + more_bytes + size <= self._most_bytes:
            return True
        return not events

    def add(
        self, chain: Chain, event_id: str, data: bytes, waiter: object, now: float, *, watched: bool = False
    ) -> bool:
        """Take an event; the caller has asked `has_room`.

        Returns:
            True where the event may change when the next message goes; see `send_at`. All else follows from what was
            there: who waits for the time of `wake_at` and looks after each answer misses nothing.
        """
        self.published = order = self.published + 1
        size = len(data) + SEND_STAMP_BYTES
        deadline = now + self._delivery_seconds
        self._pending[order] = entry = Entry(order, chain, event_id, data, size, deadline, waiter, watched)
        self.buffered_bytes += size
        waiting = chain.queue.entries
        waiting.append(entry)
        count = len(waiting)
        return count in (1, self._full)

    def send_at(self, lane: Priority) -> float:
        """Return when what waits in `lane` may leave: a time in the past for at once."""
        if lane is Priority.CRITICAL or not self._in_flight:
            return float("-inf")
        if len(self._queues[lane].entries) >= self._full:
            return float("-inf")
        return self._linger_until(lane)

    def _linger_until(self, lane: Priority) -> float:
        """Return until when events of a lane wait for company."""
        settings = self.settings
        if lane is Priority.HIGH:
            return self._sent_at + settings.high_linger_seconds - _HALF_TICK_SECONDS
        return self._bulk_sent_at + settings.bulk_linger_seconds - _HALF_TICK_SECONDS

    # Sending

    def opened(self, opened: PublishOpened) -> None:
        """Begin a stream whose `open` was answered."""
        self._connected = True
        self.draining = self.reconnect_wanted = False
        self._stream += 1
        self._sequence = 0
        self._max_events = min(opened.max_events or MAX_EVENTS_PER_MESSAGE, MAX_EVENTS_PER_MESSAGE)
        self._full = self._max_events // 4
        if opened.dedup_window_seconds:
            self._dedup_seconds = opened.dedup_window_seconds * _RESEND_SHARE
        self._set_credit(opened.credit_bytes)

    def grant(self, size: int) -> None:
        """Take credit on top of what was allowed before."""
        self._set_credit(self.credit_bytes + size)

    def drain(self) -> None:
        """Send nothing more on this stream; what is on the wire will be answered."""
        self.draining = True

    @property
    def drained(self) -> bool:
        """True where the stream is being drained and everything on it has been answered."""
        return self.draining and not self._in_flight

    def next_message(self, now: float, unix_nano: int) -> bytes | None:
        """Return the next message to write, or None where nothing may be sent now; see `wake_at`."""
        if not self._connected or self.draining or self.reconnect_wanted:
            return None
        if self._tangled:
            self._tangled = self.has_queued
            self._parking.release(now)
        taken: list[Entry] = []
        express = 0
        if self._is_due(now):
            for lane, queue in self._queues.items():
                if queue.entries:
                    self._take(queue, taken, now)
                if lane is Priority.HIGH:
                    express = len(taken)
        if not taken:
            return None
        self._sent_at = now
        if len(taken) > express:
            self._bulk_sent_at = now
        first = self._sequence + 1
        self._sequence += len(taken)
        self._in_flight.update(zip(range(first, self._sequence + 1), taken, strict=True))
        self.messages += 1
        return publish_message(first, [entry.data for entry in taken], unix_nano)

    def _is_due(self, now: float) -> bool:
        return any(queue.entries and now >= self.send_at(lane) for lane, queue in self._queues.items())

    def wake_at(self, now: float) -> float | None:
        """Return when `next_message` or `expire` may have something to do although nothing else happens."""
        times = self._parking.times()
        if self._connected and not self.draining:
            # A time that is past means that the window is closed, and an answer will open it.
            lingering = (self._linger_until(lane) for lane in LANES[1:] if self._queues[lane].entries)
            times += [due for due in lingering if due > now]
        oldest = next(iter(self._pending.values()), None)
        if oldest is not None:
            times.append(oldest.deadline)
        return min(times, default=None)

    def _set_credit(self, size: int) -> None:
        """Divide the credit among the lanes."""
        self.credit_bytes = size
        share = size // 4
        bulk = min(share, self.settings.bulk_window_bytes)
        for lane, queue in self._queues.items():
            queue.window_bytes = share if lane in EXPRESS_LANES else bulk

    def _take(self, queue: LaneQueue, taken: list[Entry], now: float) -> None:
        """Move what may go now from the queue of a lane to `taken`: all of it, where there is nothing to decide."""
        if not self._tangled:
            entries = queue.take_all(self._max_events - len(taken), self.credit_bytes - self.in_flight_bytes)
            if entries:
                for entry in entries:
                    if entry.sent_at is None:
                        entry.sent_at = now
                taken += entries
                return
        self._take_one_by_one(queue, taken, now)

    def _take_one_by_one(self, queue: LaneQueue, taken: list[Entry], now: float) -> None:
        waiting, used, credit = queue.entries, 0, self.credit_bytes - self.in_flight_bytes
        while waiting and len(taken) < self._max_events:
            entry = waiting[0]
            chain = entry.chain
            if entry.done:
                waiting.popleft()
            elif chain.parked is not None:
                chain.parked.append(waiting.popleft())
            elif entry.lost and now > (entry.sent_at or now) + self._dedup_seconds:
                waiting.popleft()
                self._give_up(entry)
            else:
                if not queue.has_room(entry.size, used) or used + entry.size > credit:
                    return
                waiting.popleft()
                used += entry.size
                queue.wire_bytes += entry.size
                if entry.lost:
                    self.resent += 1
                if entry.sent_at is None:
                    entry.sent_at = now
                taken.append(entry)

    # Answers

    def acknowledge(self, acks: PublishAcks, now: float) -> None:
        """Take the service's answers; see `take_outcomes`.

        Raises:
            ProtocolError: an event that was not sent, or was answered before, is answered. Nothing is taken then.
        """
        epoch, offsets, results = acks.epoch, list(acks.offsets), acks.results
        stored = len(offsets)
        entries = self._take_answered(acks.first_sequence, stored + len(results))
        if not results:
            self._store(entries, offsets, epoch)
        elif not any(result.duplicate or result.HasField("error") for result in results):
            self._store(entries, offsets + [result.offset for result in results], epoch)
        else:
            self._store(entries[:stored], offsets, epoch)
            for entry, result in zip(entries[stored:], results, strict=True):
                if not result.HasField("error"):
                    self._store([entry], [result.offset], epoch, duplicate=result.duplicate)
                elif not entry.done:
                    self._refused(entry, result, now)
        if self._parking:
            self._parking.look_at_wire(self._in_flight.values())

    def _take_answered(self, first: int, count: int) -> list[Entry]:
        """Take so many events off the wire, from the number `first` on."""
        pop, entries = self._in_flight.pop, []
        try:
            for sequence in range(first, first + count):
                entry = pop(sequence)
                entry.chain.queue.wire_bytes -= entry.size
                entries.append(entry)
        except KeyError:
            for entry in entries:
                entry.chain.queue.wire_bytes += entry.size
            self._in_flight.update(zip(range(first, sequence), entries, strict=True))
            message = f"the service answered event number {sequence}, which is not on the wire"
            raise ProtocolError(message) from None
        return entries

    def _store(self, entries: list[Entry], offsets: list[int], epoch: str, *, duplicate: bool = False) -> None:
        """Take note that events are in the log."""
        if True in [entry.done for entry in entries]:
            # Some were given up: their late answers have freed the credit, and are no second outcome.
            kept = [pair for pair in zip(entries, offsets, strict=True) if not pair[0].done]
            entries, offsets = [entry for entry, _ in kept], [offset for _, offset in kept]
        pending, freed = self._pending, 0
        for entry in entries:
            entry.done = True
            freed += entry.size
            del pending[entry.order]
        self.buffered_bytes -= freed
        self.acknowledged += len(entries)
        if duplicate:
            self.duplicates += len(entries)
        if entries:
            self._outcomes.append(Stored(entries, offsets, epoch, duplicate))

    def _refused(self, entry: Entry, result: PublishResult, now: float) -> None:
        error, chain = result.error, entry.chain
        behind_another = error.code == _ABORTED and chain.parked is not None
        if error.code not in _RETRYABLE or not (error.retry_delay_millis or behind_another):
            self._fail(
                entry, PublishError(error.code, error.reason, error.message, event_id=entry.id, channel=chain.channel)
            )
            return
        self.retried += 1
        entry.refused_on = self._stream
        if not entry.lost:
            entry.sent_at = None  # refused the only time it was sent: it is certainly not stored
        self._tangled = True
        self._parking.park(entry, now, error.retry_delay_millis / 1e3)

    def disconnected(self) -> None:
        """The stream is gone: everything unanswered goes again, in its order, on the next one."""
        self._connected = self.draining = self.reconnect_wanted = False
        self._set_credit(0)
        again: dict[Priority, list[Entry]] = {lane: [] for lane in LANES}
        for entry in self._in_flight.values():
            entry.lost = True
            if not entry.done:
                (again[entry.chain.lane] if entry.chain.parked is None else entry.chain.parked).append(entry)
        self._in_flight.clear()
        self._parking.look_at_wire(())
        self._tangled = True
        for lane, entries in again.items():
            queue = self._queues[lane]
            queue.wire_bytes = 0
            queue.entries.extendleft(sorted(entries, key=by_order, reverse=True))

    # Ends

    def expire(self, now: float) -> None:
        """Fail the events that have waited too long; see `take_outcomes`."""
        while self._pending:
            entry = next(iter(self._pending.values()))
            if entry.deadline > now:
                return
            self._give_up(entry)

    def abandon(self, error: Callable[[str, str], PublishError]) -> list[str]:
        """Fail everything that is left with `error(id, channel)`, and return the ids."""
        entries = list(self._pending.values())
        for entry in entries:
            self._fail(entry, error(entry.id, entry.chain.channel))
        for queue in self._queues.values():
            queue.entries.clear()
        return [entry.id for entry in entries]

    def log_changed(self) -> None:
        """Fail what may be stored in a log that is not in use any more; see `take_outcomes`."""
        for entry in [entry for entry in self._pending.values() if entry.lost]:
            self._fail(entry, of_another_log(entry))

    def unanswered(self, through_order: int) -> list[str]:
        """Return the ids of the events handed over up to `through_order` that have not been answered."""
        return [entry.id for order, entry in self._pending.items() if order <= through_order]

    def is_answered(self, through_order: int) -> bool:
        """Say whether every event up to `through_order` has an outcome."""
        return next(iter(self._pending), through_order + 1) > through_order

    def take_outcomes(self) -> list[Outcome]:
        """Return what became of events since the last call. Each event has exactly one outcome."""
        if not self._outcomes:
            return []
        taken, self._outcomes = self._outcomes, []
        return taken

    def _give_up(self, entry: Entry) -> None:
        """Fail an event that would come too late. Where the service holds back its successors, leave that stream."""
        if entry.refused_on == self._stream and self._connected:
            self.reconnect_wanted = True
        self._fail(entry, unconfirmed(entry))

    def _fail(self, entry: Entry, error: PublishError) -> None:
        self._tangled = True
        entry.done = True
        self.buffered_bytes -= entry.size
        del self._pending[entry.order]
        self.failed += 1
        self._outcomes.append(Failed(entry, error))
