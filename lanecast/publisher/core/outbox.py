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
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from lanecast.core.limits import DEDUP_WINDOW_SECONDS, MAX_EVENTS_PER_MESSAGE
from lanecast.core.priority import EXPRESS_LANES, LANES, Priority
from lanecast.errors import PublishError
from lanecast.publisher.core.ack import Ack
from lanecast.publisher.core.encoding import publish_message
from lanecast.publisher.core.entry import Chain, Entry, of_another_log, unconfirmed
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


Outcome = tuple[Entry, Ack | PublishError]


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
        self.in_flight_bytes = 0
        self.credit_bytes = 0
        self._chains: dict[tuple[str, Priority], Chain] = {}
        self._queues: dict[Priority, deque[Entry]] = {lane: deque() for lane in LANES}
        self._pending: dict[int, Entry] = {}
        self._in_flight: dict[int, Entry] = {}
        self._lane_bytes: dict[Priority, int] = dict.fromkeys(LANES, 0)
        self._windows: dict[Priority, int] = dict.fromkeys(LANES, 0)
        self._message_bytes = self.settings.message_bytes or {
            lane: (128 if lane in EXPRESS_LANES else 64) * 1024 for lane in LANES
        }
        self._parked: list[Chain] = []
        self._outcomes: list[Outcome] = []
        self._connected = False
        self._max_events = MAX_EVENTS_PER_MESSAGE
        self._dedup_seconds = DEDUP_WINDOW_SECONDS * _RESEND_SHARE
        self._order = 0
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
    def has_queued(self) -> bool:
        """True where events wait to be sent."""
        return any(self._queues.values()) or bool(self._parked)

    @property
    def last_order(self) -> int:
        """Number of the event handed over last."""
        return self._order

    def chain(self, channel: str, lane: Priority) -> Chain:
        """Return the chain of a channel and lane.

        Raises:
            PublishError: the channel name is not valid.
        """
        found = self._chains.get((channel, lane))
        if found is None:
            if len(self._chains) >= _MAX_IDLE_CHAINS:
                self._chains = {key: chain for key, chain in self._chains.items() if chain.pending}
            found = self._chains[channel, lane] = Chain(channel, lane)
        return found

    def has_room(self, size: int, more_events: int = 0, more_bytes: int = 0) -> bool:
        """Say whether an event of `size` bytes fits on top of what is there and what is about to come."""
        events = len(self._pending) + more_events
        if not events:
            return True
        settings = self.settings
        return events < settings.max_events and self.buffered_bytes + more_bytes + size <= settings.max_bytes

    def add(
        self, chain: Chain, event_id: str, data: bytes, waiter: object, now: float, *, watched: bool = False
    ) -> Entry:
        """Take an event; the caller has asked `has_room`."""
        self._order = order = self._order + 1
        entry = Entry(order, chain, event_id, data, now + self.settings.delivery_seconds, waiter, watched)
        self._pending[order] = entry
        self.buffered_bytes += entry.size
        self.published += 1
        chain.pending += 1
        self._queues[chain.lane].append(entry)
        return entry

    def send_at(self, lane: Priority) -> float:
        """Return when an event just added to `lane` may leave: a time in the past for at once."""
        if lane is Priority.CRITICAL or not self._in_flight or len(self._queues[lane]) >= self._max_events // 4:
            return float("-inf")
        return self._linger_until(lane)

    def _linger_until(self, lane: Priority) -> float:
        """Return until when events of a lane wait for company."""
        settings = self.settings
        if lane is Priority.HIGH:
            return self._sent_at + settings.high_linger_seconds
        return self._bulk_sent_at + settings.bulk_linger_seconds

    # Sending

    def opened(self, opened: PublishOpened) -> None:
        """Begin a stream whose `open` was answered."""
        self._connected = True
        self.draining = self.reconnect_wanted = False
        self._stream += 1
        self._sequence = 0
        self._max_events = min(opened.max_events or MAX_EVENTS_PER_MESSAGE, MAX_EVENTS_PER_MESSAGE)
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
        if self._parked:
            self._release(now)
        taken: list[Entry] = []
        express = 0
        if any(self._queues[lane] and now >= self.send_at(lane) for lane in LANES):
            for lane in LANES:
                if self._queues[lane]:
                    self._take(lane, taken, now)
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

    def wake_at(self, now: float) -> float | None:
        """Return when `next_message` or `expire` may have something to do although nothing else happens."""
        times = [chain.release_at for chain in self._parked if not chain.in_flight]
        if self._connected and not self.draining:
            # A time that is past means that the window is closed, and an answer will open it.
            lingering = (self._linger_until(lane) for lane in LANES[1:] if self._queues[lane])
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
        self._windows = {lane: share if lane in EXPRESS_LANES else bulk for lane in LANES}

    def _take(self, lane: Priority, taken: list[Entry], now: float) -> None:
        """Move what may go now from the queue of a lane to `taken`."""
        queue = self._queues[lane]
        room = min(self._message_bytes[lane], self._windows[lane] - self._lane_bytes[lane])
        used = 0
        while queue and len(taken) < self._max_events:
            entry = queue[0]
            chain = entry.chain
            if entry.done:
                queue.popleft()
            elif chain.parked is not None:
                chain.parked.append(queue.popleft())
            elif entry.lost and now > (entry.sent_at or now) + self._dedup_seconds:
                queue.popleft()
                self._give_up(entry)
            else:
                size = entry.size
                # An event larger than its lane's window goes when the lane is otherwise empty.
                if used + size > room and (used or self._lane_bytes[lane]):
                    return
                if self.in_flight_bytes + size > self.credit_bytes:
                    return
                queue.popleft()
                used += size
                self._send(entry, now)
                taken.append(entry)

    def _send(self, entry: Entry, now: float) -> None:
        if entry.lost:
            self.resent += 1
        if entry.sent_at is None:
            entry.sent_at = now
        chain = entry.chain
        chain.in_flight += 1
        self._lane_bytes[chain.lane] += entry.size
        self.in_flight_bytes += entry.size

    # Answers

    def acknowledge(self, acks: PublishAcks, now: float) -> None:
        """Take the service's answers; see `take_outcomes`.

        Raises:
            ProtocolError: an event that was not sent, or was answered before, is answered.
        """
        epoch = acks.epoch
        sequence = acks.first_sequence
        in_flight = self._in_flight
        for result in acks.results:
            entry = in_flight.pop(sequence, None)
            if entry is None:
                raise ProtocolError(f"the service answered event number {sequence}, which is not on the wire")
            sequence += 1
            chain = entry.chain
            chain.in_flight -= 1
            self.in_flight_bytes -= entry.size
            self._lane_bytes[chain.lane] -= entry.size
            if entry.done:
                continue
            if result.HasField("error"):
                self._refused(entry, result, now)
            else:
                self._finish(entry)
                self.acknowledged += 1
                duplicate = result.duplicate
                if duplicate:
                    self.duplicates += 1
                self._outcomes.append((entry, Ack(entry.id, chain.channel, epoch, result.offset, duplicate)))

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
        if chain.parked is None:
            chain.parked = []
            chain.release_at = now
            self._parked.append(chain)
        chain.parked.append(entry)
        chain.release_at = max(chain.release_at, now + error.retry_delay_millis / 1e3)

    def _release(self, now: float) -> None:
        """Queue parked chains again whose delay is over and of which nothing is on the wire."""
        ready = [chain for chain in self._parked if not chain.in_flight and chain.release_at <= now]
        if not ready:
            return
        self._parked = [chain for chain in self._parked if chain not in ready]
        for chain in ready:
            assert chain.parked is not None
            entries = sorted((entry for entry in chain.parked if not entry.done), key=_by_order)
            chain.parked = None
            self._queues[chain.lane].extendleft(reversed(entries))

    def disconnected(self) -> None:
        """The stream is gone: everything unanswered goes again, in its order, on the next one."""
        self._connected = self.draining = self.reconnect_wanted = False
        self._set_credit(0)
        again: dict[Priority, list[Entry]] = {lane: [] for lane in LANES}
        for entry in self._in_flight.values():
            entry.lost = True
            entry.chain.in_flight = 0
            if not entry.done:
                (again[entry.chain.lane] if entry.chain.parked is None else entry.chain.parked).append(entry)
        self._in_flight.clear()
        self.in_flight_bytes = 0
        for lane, entries in again.items():
            self._lane_bytes[lane] = 0
            self._queues[lane].extendleft(sorted(entries, key=_by_order, reverse=True))

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
            queue.clear()
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
        self._finish(entry)
        self.failed += 1
        self._outcomes.append((entry, error))

    def _finish(self, entry: Entry) -> None:
        entry.done = True
        entry.chain.pending -= 1
        self.buffered_bytes -= entry.size
        del self._pending[entry.order]


def _by_order(entry: Entry) -> int:
    return entry.order
