"""What the gateway measures of the events that pass.

Owns which stamps make which hop. Stamps that a batch brings are counted once per batch, the socket write once per
delivery. Called by the upstream shell after the frames have left, so that measuring delays nothing that is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway_svc.core.arms import ArmMeter
from gateway_svc.core.backlog import Entry, Totals
from gateway_svc.core.items import EventItem, Item
from gateway_svc.core.route import Route, item_of
from gateway_svc.core.tracing import Tracing
from gateway_svc.core.types import TypeBook
from lanecast.core import scan
from lanecast.core.channel import is_reserved
from lanecast.core.clock import SAME, Reading
from lanecast.core.instruments import (
    BATCH_SIZE,
    CLOCK_COARSE,
    CLOCK_ERROR_BOUND,
    CONNECTION_BUFFERED,
    DELIVERY_DURATION,
    EVENT_DELIVERED,
    EVENT_DROPPED,
    HOP_DURATION,
    SLO_EVENTS,
    SYNTHETIC_DELIVERED,
    Counter,
    Instruments,
)  # fmt: skip
from lanecast.core.priority import BUDGET_SECONDS, LANES, Priority
from lanecast.core.sketch import Sketch
from lanecast.v1.event_pb2 import Event
from lanecast.v1.gateway_pb2 import Receipt, ReceiptSample

_HOPS_OF = 512
"""Batches of a lane between two exports whose hops are counted, about: with twice as many, those of every second."""
_MAX_STRIDE = 8
_MAX_CLIENT_MICROS = 60_000_000
_MAX_SAMPLES = 64
COARSE_NS = {lane: int(seconds * 1e9 / 2) for lane, seconds in BUDGET_SECONDS.items()}
"""A clock bound above this, in nanoseconds, makes a sample coarse."""

Passed = tuple[Route, bytes, scan.Tail, int, int]
"""A batch of one event that one socket took, what is known of it, when its frame was made and when it was taken."""

_NUMBERS = frozenset(int(lane) for lane in LANES)


class _Lane:
    """The instruments of one lane."""

    __slots__ = (
        "batch_size",
        "batches",
        "by_type",
        "by_url",
        "coarse",
        "coarse_ns",
        "delivered",
        "edge_wait",
        "end_to_end",
        "ingest",
        "lane_wait",
        "last_mile",
        "log",
        "lone",
        "sdk_queue",
        "server",
        "sizes",
        "socket_write",
        "stride",
        "transit",
        "usual",
    )  # fmt: skip

    def __init__(self, instruments: Instruments, number: Priority) -> None:
        lane = number.name

        def hop(name: str) -> Sketch:
            return instruments.sketch(HOP_DURATION, hop=name, lane=lane)

        self.batches = 0
        """Batches since the last export."""
        self.usual = 0
        """Batches between two exports lately."""
        self.stride = 1
        """The hops of every so many-th batch are counted, as often."""
        self.sdk_queue, self.ingest, self.log, self.lane_wait = map(hop, ("sdk_queue", "ingest", "log", "lane_wait"))
        self.transit, self.edge_wait, self.socket_write = map(hop, ("transit", "edge_wait", "socket_write"))
        self.last_mile = hop("last_mile")
        self.server = instruments.sketch(DELIVERY_DURATION, scope="server", lane=lane)
        self.end_to_end = instruments.sketch(DELIVERY_DURATION, scope="end_to_end", lane=lane)
        self.by_type: dict[str, Sketch] = {}
        """Of the server latency, by the URL of the type."""
        self.by_url: dict[bytes, Sketch] = {}
        """The same, by the bytes of the URL."""
        self.coarse_ns = COARSE_NS[number]
        self.delivered = instruments.counter(EVENT_DELIVERED, lane=lane)
        self.sizes: dict[int, int] = {}
        """Batches since the last export by the number of their events, but for those in `lone`."""
        self.lone = 0
        """Batches of one event since the last export that came by `passed`."""
        self.batch_size = instruments.sketch(BATCH_SIZE, lane=lane, role="gateway")
        self.coarse = instruments.counter(CLOCK_COARSE, lane=lane)

    def met(self, url: bytes) -> None:
        """Note that a type was met, if it was: what stands where its URL is expected may be something else."""
        sketch = self.by_type.get(url.decode(errors="replace"))
        if sketch is not None:
            self.by_url[url] = sketch

    def before_flush(self, sender: tuple[int, int], accepted: int, stored: int, flush: int) -> None:
        """Count the hops of an event before the batch was flushed, as often as the stride says."""
        created, sent = sender
        stride = self.stride
        if sent:
            if created:
                self.sdk_queue.record_ns(sent - created, stride)
            self.ingest.record_ns(accepted - sent, stride)
        if stored:
            self.log.record_ns(stored - accepted, stride)
            self.lane_wait.record_ns(flush - stored, stride)

    def ours(self, transit_ns: int, wait_ns: int, write_ns: int) -> None:
        """Count the other hops of a batch of one event for one socket, likewise."""
        stride = self.stride
        self.transit.record_ns(transit_ns, stride)
        self.edge_wait.record_ns(wait_ns, stride)
        self.socket_write.record_ns(write_ns, stride)


class Meter:
    """Records hops and deliveries of one process."""

    def __init__(self, instruments: Instruments, types: TypeBook, totals: Totals) -> None:
        self._instruments = instruments
        self._types = types
        self._lanes = {lane: _Lane(instruments, lane) for lane in LANES}
        # A list is a fifth of the look-up: the hash of a member of an enumeration is computed in Python.
        self._by_number = [self._lanes[Priority(number or 1)] for number in range(1 + max(LANES))]
        self._synthetic = {lane: instruments.counter(SYNTHETIC_DELIVERED, lane=lane.name) for lane in LANES}
        """What performance tests got; they measure the rest themselves, so that users' figures stay theirs."""
        self._by_type: dict[tuple[str, Priority, str], Sketch] = {}
        self._blocked_counters: dict[tuple[Priority, str], Counter] = {}
        self._totals = totals
        self.tracing: Tracing | None = None
        """None: no spans are exported."""
        self._error_bound = instruments.sketch(CLOCK_ERROR_BOUND, role="browser")
        self._publisher_bound = instruments.sketch(CLOCK_ERROR_BOUND, role="gateway")
        self.clock: Reading | None = None
        """What is known of the publisher's clock; None: it is this machine's. Kept up to date by the link."""
        instruments.before_reading(self._tally)
        self.arms = ArmMeter(instruments)
        """What the arms of a rollout show."""
        instruments.gauge(CONNECTION_BUFFERED, self._buffered)

    def dispatched(self, item: EventItem, written: Sequence[tuple[int, int]]) -> None:
        """Count a batch from the stream: its hops once, and each write as the number of sockets and when it ended.

        Every delivery counts. Of the hops, which only say where its time went, a busy lane counts up to every eighth
        batch, and that eight times: counting all would cost as much as a third of what delivering does. The batches are
        taken evenly: the first of a second are those that waited for the export before it.
        """
        count, batch, lane = item.count, item.batch, self._by_number[item.lane]
        if is_reserved(item.channel):
            self._synthetic[item.lane].add(count * sum(number for number, _ in written))
            return
        for number, _ in written:
            lane.delivered.value += count * number
        if batch.replayed:
            return
        ends, received_ns = written, item.receive_ns
        if self.clock is not None:
            ends, received_ns = self._by_publisher(self.clock, lane, item, written)
        if ends and batch.generation:
            accepted = [event.accept_time_unix_nano for event in batch.events]
            self.arms.delivered(item.channel, item.lane, batch.generation, batch.arm, accepted, ends[-1][1])
        lane.batches += 1
        sizes = lane.sizes
        sizes[count] = sizes[count] + 1 if count in sizes else 1
        if ends:
            self._server(lane, item.lane, batch.events, ends)
        if not lane.batches % lane.stride:
            self._hops(lane, item, written, received_ns)
        if self.tracing is not None and written:
            self.tracing.delivered(item, sum(number for number, _ in written), written[-1][1])

    def passed(self, batches: Iterable[Passed], receive_ns: int) -> None:
        """Count batches of one event that one socket each took: what `dispatched` does, and without parsing them.

        What is not said in the usual places, or a type that was not met yet in its lane, is left to `dispatched`.
        """
        clock, tracing, lanes = self.clock, self.tracing, self._by_number
        shift_ns, bound_ns = (0, 0) if clock is None else (clock.shift_ns, clock.bound_ns)
        for route, raw, tail, send_ns, end_ns in batches:
            lane = lanes[route.number]
            said = None if route.reserved else scan.sender(raw, route.address, route.start)
            sketch = None if said is None else lane.by_url.get(said[0])
            if said is None or sketch is None or bound_ns > lane.coarse_ns:
                self.dispatched(item_of(route, raw, tail, receive_ns, send_ns), [(1, end_ns)])
                if said is not None:
                    lane.met(said[0])
                continue
            lane.delivered.value += 1
            lane.lone += 1
            lane.batches = number = lane.batches + 1
            accepted = tail[5]
            sketch.record_ns(end_ns + shift_ns - accepted)
            if route.generation:
                self.arms.delivered(
                    route.channel, route.lane, route.generation, route.arm, (accepted,), end_ns + shift_ns
                )
            if not number % lane.stride:
                stored, flush = scan.later_stamps(raw)
                lane.before_flush(scan.stamps(raw, said[2]), accepted, stored, flush)
                lane.ours(receive_ns + shift_ns - flush, send_ns - receive_ns, end_ns - send_ns)
            if tracing is not None and tracing.wants(route, said[1], end_ns - accepted):
                tracing.delivered(item_of(route, raw, tail, receive_ns, send_ns), 1, end_ns)

    def _server(self, lane: _Lane, number: Priority, events: Iterable[Event], ends: Sequence[tuple[int, int]]) -> None:
        by_type = lane.by_type
        for event in events:
            accepted, type_url = event.accept_time_unix_nano, event.data.type_url
            sketch = by_type.get(type_url)
            if sketch is None:
                sketch = by_type[type_url] = self._sketch("server", number, type_url)
            sketch.record_until(accepted, ends)

    def _by_publisher(
        self, clock: Reading, lane: _Lane, item: EventItem, written: Sequence[tuple[int, int]]
    ) -> tuple[Sequence[tuple[int, int]], int]:
        """Return writes and receipt by the publisher's clock; nothing where that is known too badly to compare with.

        No batch comes before it was flushed. Where it looks so by no more than the bound, the clocks differ by so much
        more: without that, the quickest would be missing from every figure.
        """
        if clock.bound_ns > COARSE_NS[item.lane]:
            lane.coarse.value += item.count * sum(number for number, _ in written)
            return (), 0
        shift_ns = clock.shift_ns
        early_ns = item.batch.flush_time_unix_nano - item.receive_ns - shift_ns
        if 0 < early_ns <= clock.bound_ns:
            shift_ns += early_ns
        return [(number, end_ns + shift_ns) for number, end_ns in written], item.receive_ns + shift_ns

    def _hops(self, lane: _Lane, item: EventItem, written: Sequence[tuple[int, int]], received_ns: int) -> None:
        """Count the hops of a batch; `received_ns` is its receipt by the publisher's clock, 0 where that is unknown."""
        flush, stride = item.batch.flush_time_unix_nano, lane.stride
        for event in item.batch.events:
            sender = event.create_time_unix_nano, event.send_time_unix_nano
            lane.before_flush(sender, event.accept_time_unix_nano, event.store_time_unix_nano, flush)
        count = item.count * stride
        if received_ns:
            lane.transit.record_ns(received_ns - flush, count)
        lane.edge_wait.record_ns(item.send_ns - item.receive_ns, count)
        for number, end_ns in written:
            lane.socket_write.record_ns(end_ns - item.send_ns, count * number)

    def _flushed(self, item: EventItem, end_ns: int) -> None:
        if is_reserved(item.channel):
            self._synthetic[item.lane].add(item.count)
            return
        lane = self._lanes[item.lane]
        lane.delivered.value += item.count
        if item.batch.replayed:
            return
        # The kernel did not take it at once: the peer's own buffer was full. How long the peer took is not what a lane
        # promises, so these are in no duration.
        for event in item.batch.events:
            self._blocked(item.lane, "").value += 1
            self._blocked(item.lane, event.data.type_url).value += 1
        if self.tracing is not None:
            self.tracing.delivered(item, 1, end_ns)

    def flushed(self, entries: list[Entry], end_ns: int) -> None:
        """Count what has left an outbox, where it had waited for the peer."""
        for entry in entries:
            item = entry.item
            if isinstance(item, EventItem):
                self._flushed(item, end_ns)

    def sent(self, item: Item) -> None:
        """Count an item that one reader alone got: a page of the log, or what was left of a batch."""
        if isinstance(item, EventItem):
            reserved = is_reserved(item.channel)
            delivered = self._synthetic[item.lane] if reserved else self._lanes[item.lane].delivered
            delivered.value += item.count

    def receipt(self, receipt: Receipt) -> None:
        """Count what a client has measured. The values are untrusted: they are clamped, and unknown types ignored.

        A sample whose clock bound exceeds half of what the lane promises says too little: it is counted as coarse, and
        enters no latency.
        """
        publisher = self.clock or SAME
        for sample in receipt.samples[:_MAX_SAMPLES]:
            if int(sample.lane) not in _NUMBERS:
                continue
            lane = self._lanes[Priority(sample.lane)]
            bound_ns = sample.uncertainty_micros * 1000
            self._error_bound.record_ns(min(sample.uncertainty_micros, _MAX_CLIENT_MICROS) * 1000)
            plausible = 0 < sample.last_mile_micros <= _MAX_CLIENT_MICROS
            if self.tracing is not None and sample.trace_context and plausible:
                self.tracing.receipt(sample, sample.last_mile_micros)
            if bound_ns > COARSE_NS[Priority(sample.lane)]:
                lane.coarse.add()
                continue
            if plausible:
                lane.last_mile.record_ns(sample.last_mile_micros * 1000)
            elif sample.last_mile_micros < 0:
                lane.last_mile.record_ns(_not_before(sample.last_mile_micros * 1000, bound_ns))
            if sample.end_to_end_micros:
                self._end_to_end(sample, bound_ns, publisher)

    def _end_to_end(self, sample: ReceiptSample, bound_ns: int, publisher: Reading) -> None:
        """Count the whole way. It begins by the publisher's clock and ends by ours, so both bounds are in it."""
        number = Priority(sample.lane)
        lane = self._lanes[number]
        if bound_ns + publisher.bound_ns > COARSE_NS[number]:
            lane.coarse.add()
            return
        duration_ns = sample.end_to_end_micros * 1000 + publisher.shift_ns
        if duration_ns > _MAX_CLIENT_MICROS * 1000:
            return
        sketch = lane.end_to_end
        if sample.type in self._types:
            sketch = self._sketch("end_to_end", number, sample.type)
        sketch.record_ns(_not_before(duration_ns, bound_ns + publisher.bound_ns))

    def _sketch(self, scope: str, lane: Priority, type_url: str) -> Sketch:
        key = (scope, lane, type_url)
        sketch = self._by_type.get(key)
        if sketch is None:
            name = type_url.rpartition("/")[2]
            whole = self._lanes[lane].server if scope == "server" else self._lanes[lane].end_to_end
            sketch = self._instruments.part(whole, DELIVERY_DURATION, scope=scope, lane=lane.name, type=name)
            self._by_type[key] = sketch
        return sketch

    def _blocked(self, lane: Priority, type_url: str) -> Counter:
        key = (lane, type_url)
        counter = self._blocked_counters.get(key)
        if counter is None:
            attributes = {"type": type_url.rpartition("/")[2]} if type_url else {}
            counter = self._instruments.counter(SLO_EVENTS, lane=lane.name, result="blocked_by_peer", **attributes)
            self._blocked_counters[key] = counter
        return counter

    def _buffered(self) -> float:
        return float(self._totals.bytes)

    def _tally(self) -> None:
        """Move what was counted elsewhere into the instruments, before they are read."""
        bound_ns = (self.clock or SAME).bound_ns
        self._publisher_bound.record_ns(min(bound_ns, _MAX_CLIENT_MICROS * 1000))
        for lane in self._lanes.values():
            lane.usual = max(lane.batches, lane.usual // 2)  # several exporters may read one soon after the other
            lane.stride = min(_MAX_STRIDE, 1 + lane.usual // _HOPS_OF)
            lane.batches = 0
            for size, number in lane.sizes.items():
                lane.batch_size.record(size, number)
            if lane.lone:
                lane.batch_size.record(1, lane.lone)
                lane.lone = 0
            lane.sizes.clear()
        for (dropped_in, reason), events in self._totals.take_dropped().items():
            self._instruments.counter(EVENT_DROPPED, lane=dropped_in.name, reason=reason).add(events)


def _not_before(duration_ns: int, bound_ns: int) -> int:
    """Return a duration: none where it is negative by what the clocks may be wrong, and -1, skew, where by more."""
    if duration_ns >= 0:
        return duration_ns
    return 0 if duration_ns >= -bound_ns else -1
