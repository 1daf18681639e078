"""From the publisher's streams to the sockets, in slices.

Owns the order in which batches are written: express ones at once, bulk ones in slices of a quarter of a millisecond, so
that an express event never waits longer than that for the loop, and, under frame pressure, after a window in which
events of a channel gather (see `core.window`). Called by `link` with what its streams bring; one for each process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from gateway_svc.core.channel import Feed
from gateway_svc.core.hub import Hub
from gateway_svc.core.items import EventItem, Item, JsonEncoder
from gateway_svc.core.meter import Meter, Passed
from gateway_svc.core.route import item_of, learn
from gateway_svc.core.shortcut import Outcome, deliver
from gateway_svc.core.window import FrameWindow, Waiting
from lanecast.core.priority import LANES, Priority
from lanecast.core.scan import lone_event
from lanecast.runtime.scheduling import give_way
from lanecast.v1.event_pb2 import EventBatch

log = logging.getLogger(__name__)

SLICE_NS = 250_000
"""How long bulk batches are worked off before the loop looks at its other work."""

_EARLY_NS = 500_000
"""A queue that is due this soon goes now: the loop's clock counts whole milliseconds."""

SOCKETS_PER_STAMP = 8
"""Sockets written to between two looks at the clock."""

Used = Callable[[Priority, int], None]
"""Grants bytes of a lane to the publisher again."""

Written = tuple[EventItem, list[tuple[int, int]]]
"""A batch, and how many sockets had taken it by when."""

_NUMBERS = 1 + max(LANES)
_LEFT, _SENT, _HELD = Outcome.LEFT, Outcome.SENT, Outcome.HELD


class Dispatcher:
    """See the module. Use: `start`, `express` and `bulk`, `close`."""

    def __init__(self, hub: Hub, meter: Meter, types: JsonEncoder) -> None:
        self._hub = hub
        self._meter = meter
        self._types = types
        self._window = FrameWindow(time.monotonic_ns())
        self._waiting = Waiting()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._turn_began = 0
        self._room = asyncio.Event()
        self._writing: Feed | None = None
        """Whose queue is being written, with pauses: until that is done nothing else may be written there."""
        self._turn = asyncio.Lock()

    def start(self) -> None:
        """Begin to write what has waited."""
        self._task = asyncio.create_task(self._run(), name="dispatch")

    async def close(self) -> None:
        """Write everything that still waits, and stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.flush()

    async def flush(self) -> None:
        """Write everything that waits, without a pause, but behind a queue that is being written."""
        async with self._turn:
            while (found := self._waiting.pop_any()) is not None:
                self._write_now(*found)

    def express(self, batches: Iterable[bytes], receive_ns: int, used: Used) -> None:
        """Write express batches that came off the stream at `receive_ns`, without a pause."""
        short: list[Passed] = []
        done: list[Written] = []
        hub, routes, sizes = self._hub, self._hub.routes, [0] * _NUMBERS
        now = began = time.monotonic_ns()
        to_wall = time.time_ns() - now
        for raw in batches:
            route = routes.get(raw[: raw[1] + 4])  # as `route.key_of` says
            if route is not None and (tail := lone_event(raw, route.head)) is not None:
                sizes[route.number] += len(raw)
                send_ns = now + to_wall
                outcome = deliver(route, raw, tail, receive_ns, send_ns)
                if outcome is _SENT:
                    now = time.monotonic_ns()
                    short.append((route, raw, tail, send_ns, now + to_wall))
                    continue
                item = item_of(route, raw, tail, receive_ns, send_ns)
                if outcome is _HELD:
                    done.append((item, []))
                    continue
                accepted = hub.accept_on(route.feed, item)
            else:
                item = self._parse(raw, receive_ns, now + to_wall)
                sizes[item.lane] += len(raw)
                accepted = hub.accept(item)
            if accepted is None:
                continue
            new, feed = accepted
            assert isinstance(new, EventItem)
            sent = hub.distribute(new, feed.live_readers())
            now = time.monotonic_ns()
            done.append((new, [(sent, now + to_wall)] if sent else []))
        now = time.monotonic_ns()
        self._window.spent(now - began, now)
        self._finish(short, done, receive_ns, sizes, used)

    async def bulk(self, batches: Iterable[bytes], receive_ns: int, used: Used) -> None:
        """Write bulk batches in slices, or let them wait for company; returns when there is room for more."""
        short: list[Passed] = []
        done: list[Written] = []
        hub, routes, waiting, window, sizes = self._hub, self._hub.routes, self._waiting, self._window, [0] * _NUMBERS
        now = self._turn_began = time.monotonic_ns()
        to_wall = time.time_ns() - now
        for raw in batches:
            route = routes.get(raw[: raw[1] + 4])  # as `route.key_of` says
            due: int | None = None
            if route is not None and (tail := lone_event(raw, route.head)) is not None:
                sizes[route.number] += len(raw)
                feed = route.feed
                due = window.due_ns(feed, now)
                send_ns = now + to_wall
                outcome = _LEFT
                if not due and feed is not self._writing and not (waiting and feed in waiting):
                    outcome = deliver(route, raw, tail, receive_ns, send_ns)
                if outcome is _SENT:
                    now = time.monotonic_ns()
                    if window.width_ns:
                        feed.flushed_ns = now
                    short.append((route, raw, tail, send_ns, now + to_wall))
                    if now - self._turn_began > SLICE_NS:
                        await self._pause(now)
                        now = self._turn_began
                        to_wall = time.time_ns() - now
                    continue
                item = item_of(route, raw, tail, receive_ns, send_ns)
                if outcome is _HELD:
                    done.append((item, []))
                    continue
                accepted = hub.accept_on(feed, item)
            else:
                item = self._parse(raw, receive_ns, now + to_wall)
                sizes[item.lane] += len(raw)
                accepted = hub.accept(item)
            if accepted is None:
                continue
            await self._carry(accepted, due, now, done)
            now = time.monotonic_ns()
            to_wall = time.time_ns() - now
        self._account(time.monotonic_ns())
        self._finish(short, done, receive_ns, sizes, used)
        while not waiting.has_room:
            self._room.clear()
            await self._room.wait()

    async def _carry(self, accepted: tuple[Item, Feed], due_ns: int | None, now_ns: int, done: list[Written]) -> None:
        """Write a bulk batch, or let it wait: until `due_ns`, or as the window says where that is None."""
        new, feed = accepted
        assert isinstance(new, EventItem)
        due = self._window.due_ns(feed, now_ns) if due_ns is None else due_ns
        if self._waiting and self._waiting.join(feed, new):
            return
        if due or feed is self._writing:
            self._waiting.hold(feed, new, due)
            self._wake.set()
        elif len(feed.live) > SOCKETS_PER_STAMP:
            done.append((new, await self._write(new, feed)))
        else:
            done.append((new, self._write_few(new, feed)))
            if feed.flushed_ns - self._turn_began > SLICE_NS:
                await self._pause(feed.flushed_ns)

    async def _pause(self, now_ns: int) -> None:
        """Let the loop look at its other work."""
        self._account(now_ns)
        give_way()
        await asyncio.sleep(0)
        self._turn_began = time.monotonic_ns()

    def _parse(self, raw: bytes, receive_ns: int, send_ns: int) -> EventItem:
        """Return the item of a batch that was not recognised, and see that those like it will be."""
        item = EventItem(EventBatch.FromString(raw), raw, self._types, receive_ns, send_ns)
        if item.count == 1:
            feed = self._hub.feed(item.channel, item.lane)
            if feed is not None:
                learn(item, feed, self._hub.routes)
        return item

    def _finish(self, short: list[Passed], done: list[Written], receive_ns: int, sizes: list[int], used: Used) -> None:
        """Grant what a message held, and measure it: only now, since measuring must not delay the batches in it."""
        for lane in LANES:
            size = sizes[lane]
            if size:
                used(lane, size)
        if short:
            self._meter.passed(short, receive_ns)
        for item, written in done:
            self._meter.dispatched(item, written)

    async def settle(self, channel: str, lane: Priority) -> None:
        """Write what waits of a channel and lane: something else is about to move its readers."""
        if self._waiting or self._writing is not None:
            feed = self._hub.feed(channel, lane)
            if feed is not None:
                async with self._turn:
                    self._write_now(feed, self._waiting.pop(feed))

    async def _write_queue(self, feed: Feed, items: list[EventItem]) -> None:
        self._writing = feed
        try:
            for number, item in enumerate(items, 1):
                try:
                    written = await self._write(item, feed)
                except asyncio.CancelledError:
                    self._write_now(feed, items[number:])
                    raise
                self._meter.dispatched(item, written)
        finally:
            self._writing = None

    def _write_few(self, item: EventItem, feed: Feed) -> list[tuple[int, int]]:
        """Do what `_write` does where all readers fit between two looks at the clock: most channels have one."""
        now_ns = time.time_ns()
        item.stamp(now_ns)
        sent = self._hub.distribute(item, feed.live_readers())
        feed.flushed_ns = time.monotonic_ns()
        return [(sent, time.time_ns())] if sent else []

    async def _write(self, item: EventItem, feed: Feed) -> list[tuple[int, int]]:
        """Write one batch to all who want it; return how many sockets took it until when."""
        hub, now_ns = self._hub, time.monotonic_ns
        written: list[tuple[int, int]] = []
        now = now_ns()
        item.stamp(time.time_ns())
        readers = feed.live_readers()
        for index in range(0, len(readers), SOCKETS_PER_STAMP):
            sent = hub.distribute(item, readers[index : index + SOCKETS_PER_STAMP])
            now = now_ns()
            if sent:
                written.append((sent, time.time_ns()))
            if now - self._turn_began > SLICE_NS:
                try:
                    await self._pause(now)
                except asyncio.CancelledError:
                    # The batch counts as accepted: those behind here would never get it.
                    hub.distribute(item, readers[index + SOCKETS_PER_STAMP :])
                    raise
        feed.flushed_ns = now
        return written

    def _write_now(self, feed: Feed, items: Sequence[Item]) -> None:
        for item in items:
            sent = self._hub.distribute(item, feed.live_readers())
            if isinstance(item, EventItem):
                self._meter.dispatched(item, [(sent, time.time_ns())] if sent else [])

    def _account(self, now_ns: int) -> None:
        self._window.spent(now_ns - self._turn_began, now_ns)
        self._turn_began = now_ns

    async def _run(self) -> None:
        """Write each queue when it is due."""
        waiting = self._waiting
        while True:
            due = waiting.next_due_ns()
            if due is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            ahead = due - time.monotonic_ns()
            if ahead > 0:
                await asyncio.sleep(max(1, round(ahead / 1e6)) / 1e3)
                continue
            try:
                await self._write_due()
            except Exception:
                # Readers that did not get what waited have a hole, and read it from the log.
                log.exception("unexpected failure while writing events that had waited")

    async def _write_due(self) -> None:
        self._turn_began = time.monotonic_ns()
        while True:
            async with self._turn:
                found = self._waiting.pop_due(time.monotonic_ns() + _EARLY_NS)
                if found is None:
                    break
                await self._write_queue(*found)
            self._room.set()
        self._account(time.monotonic_ns())
