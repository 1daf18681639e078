"""The gateway's way to the publisher.

Owns the connection: an express stream (CRITICAL, HIGH) and a bulk stream (NORMAL, LOW), reconnects to the target that
`lanecast.core.targets` names, and pages of the log. After a reconnect every channel is added again from where its lanes
stood, so sessions notice nothing unless something is truly gone. What the streams carry is worked off by `link`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from itertools import count

from gateway_svc.config import GatewayConfig
from gateway_svc.core.conflation import in_place
from gateway_svc.core.hub import Hub
from gateway_svc.core.items import GapItem, split
from gateway_svc.core.meter import Meter
from gateway_svc.core.ports import Page, PageRequest
from gateway_svc.core.shelf import Shelf
from gateway_svc.core.types import TypeBook
from gateway_svc.dispatch import Dispatcher
from gateway_svc.link import Link, LinkHabits
from lanecast.core.clock import Reading
from lanecast.core.targets import Standing, TargetRing
from lanecast.errors import LanecastError, StatusError, UnavailableError
from lanecast.runtime import status
from lanecast.transport import OtherLogError
from lanecast.v1.publisher_pb2 import ReadAfter, ReadEventsRequest, ReadEventsResponse

log = logging.getLogger(__name__)

CONCURRENT_PAGES = 8
"""Most pages being read from the publisher at once."""

PAGE_SLICE_NS = 250_000
"""How long pages are handed out before live events have their turn."""

PAGE_PAUSE_SECONDS = 0.001
"""And how long the turn is: a loop turn alone would leave the processor to the pages."""


class Upstream:
    """The connection to whichever publisher answers; implements `core.ports.Publisher`."""

    def __init__(self, config: GatewayConfig, types: TypeBook, meter: Meter) -> None:
        self._ring = TargetRing(config.publisher_targets)
        self._instance = config.instance
        self._habits = LinkHabits(
            self._ring.has_choice, config.publisher_health_seconds, config.publisher_return_seconds
        )
        self._types = types
        self._meter = meter
        self._hub: Hub | None = None
        self._dispatcher: Dispatcher | None = None
        self._link: Link | None = None
        self._linked = asyncio.Event()
        # Bounded by its use: a reader has at most one page outstanding, and readers are bounded by subscriptions.
        self._pages: asyncio.PriorityQueue[tuple[int, int, PageRequest, Page | None]] = asyncio.PriorityQueue()
        self._order = count()
        self._shelf = Shelf()
        self._wanted: dict[tuple[object, ...], list[PageRequest]] = {}
        """Pages being read, and who waits for each."""
        self._reads = asyncio.Semaphore(CONCURRENT_PAGES)
        self._reading: set[asyncio.Task[None]] = set()
        self._slice_began = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: set[str] = set()
        """Targets whose failure is in the log already."""

    def __repr__(self) -> str:
        return f"Upstream({self._link!r}, pages={self._pages.qsize()})"

    def bind(self, hub: Hub) -> None:
        """Set where everything goes; called once, before `start`."""
        self._hub = hub
        self._dispatcher = Dispatcher(hub, self._meter, self._types)

    @property
    def connected(self) -> bool:
        """True while both streams are open."""
        return self._linked.is_set()

    async def wait_connected(self) -> None:
        """Return once both streams are open."""
        await self._linked.wait()

    def start(self) -> None:
        """Begin to connect."""
        assert self._dispatcher is not None
        self._dispatcher.start()
        self._tasks.append(asyncio.create_task(self._stay_connected(), name="upstream"))
        self._tasks.append(asyncio.create_task(self._serve_pages(), name="pages"))

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        tasks, self._tasks = [*self._tasks, *self._reading], []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._dispatcher is not None:
            await self._dispatcher.close()

    async def flush(self) -> None:
        """Write what waits for company."""
        if self._dispatcher is not None:
            await self._dispatcher.flush()

    # core.ports.Publisher

    def add(self, channel: str) -> None:
        """See `Publisher.add`. Where there is no connection, the next one adds all channels."""
        if self._link is not None:
            self._link.add(channel)

    def remove(self, channel: str) -> None:
        """See `Publisher.remove`."""
        if self._link is not None:
            self._link.remove(channel)

    def read(self, request: PageRequest) -> None:
        """See `Publisher.read`: CRITICAL goes first."""
        self._ask(request, None)

    def _ask(self, request: PageRequest, page: Page | None) -> None:
        self._pages.put_nowait((int(request.lane), next(self._order), request, page))

    # Connecting

    async def _stay_connected(self) -> None:
        loop, ring = asyncio.get_running_loop(), self._ring
        while True:
            target, delay = ring.next(loop.time())
            await asyncio.sleep(delay)
            is_left = False
            link = self._make_link(target)
            try:
                await link.open()
                self._check_log(target, link.log_id)
                self._link = link
                self._shelf.clear()
                link.add_all()
                self._linked.set()
                self._failing.clear()
                log.info("connected to the publisher at %s", target)
                await link.run()
                is_left = True
            except LanecastError as error:
                if target not in self._failing:
                    self._failing.add(target)
                    log.warning("the publisher at %s cannot be used, trying again: %s", target, error)
            except Exception:
                # A message that could not be worked off: what it held is read again after the reconnect.
                log.exception("unexpected failure on the connection to %s", target)
            finally:
                self._linked.clear()
                self._link = None
                await link.close()
            if is_left:
                ring.left(target)
            else:
                ring.failed(target, loop.time())

    def _make_link(self, target: str) -> Link:
        assert self._hub is not None
        assert self._dispatcher is not None
        habits = replace(self._habits, preferred=self._ring.preferred(target))
        return Link(target, self._instance, self._hub, self._types, self._dispatcher, habits, self._on_clock)

    def _on_clock(self, reading: Reading | None) -> None:
        self._meter.clock = reading

    def _check_log(self, target: str, log_id: str) -> None:
        standing = self._ring.opened(target, log_id, asyncio.get_running_loop().time())
        if standing is Standing.FOREIGN:
            raise OtherLogError(target)
        if standing is Standing.REPLACED:
            log.error("the event log behind the publishers was replaced by another: clients are told of the gap")

    # Pages

    async def _serve_pages(self) -> None:
        """Hand out pages one after another, with pauses: live events go before what was missed."""
        hub = self._hub
        assert hub is not None
        while True:
            _, _, request, page = await self._pages.get()
            await self._linked.wait()
            if request.reader.request is not request:
                continue
            page = page or self._shelf.find(request, time.monotonic())
            if page is not None:
                hub.page(request, page)
                await self._give_way()
            elif (others := self._wanted.get(_place(request))) is not None:
                others.append(request)
            else:
                self._wanted[_place(request)] = []
                await self._reads.acquire()
                task = asyncio.create_task(self._read_page(request), name="read-page")
                self._reading.add(task)
                task.add_done_callback(self._on_page_read)

    async def _give_way(self) -> None:
        """Let live events through after each slice of pages."""
        now = time.monotonic_ns()
        if now - self._slice_began > PAGE_SLICE_NS:
            await asyncio.sleep(PAGE_PAUSE_SECONDS)
            self._slice_began = time.monotonic_ns()

    def _on_page_read(self, task: asyncio.Task[None]) -> None:
        self._reading.discard(task)
        self._reads.release()

    async def _read_page(self, request: PageRequest) -> None:
        """Read a page, and let it be handed out to all who have asked for it meanwhile."""
        hub, link = self._hub, self._link
        assert hub is not None
        # A page says more the later it is read: count what has come while the request waited its turn.
        feed = request.reader.feed
        request.tail, request.generation = feed.tail, feed.generation
        page: Page | None = None
        try:
            page = self._page(await link.read(_page_message(request))) if link is not None else None
        except StatusError as error:
            hub.page_failed(request, str(error), retryable=status.is_retryable(error.code))
        except LanecastError as error:
            hub.page_failed(request, str(error), retryable=isinstance(error, UnavailableError))
        except Exception:
            log.exception("unexpected failure while reading a page of the log, trying again")
            hub.page_failed(request, "", retryable=True)
        else:
            if page is None:
                hub.page_failed(request, "there is no connection to a publisher", retryable=True)
            else:
                if link is self._link:
                    self._shelf.put(request, page, time.monotonic())
                hub.page(request, page)
        finally:
            for other in self._wanted.pop(_place(request)):
                other.tail, other.generation = request.tail, request.generation
                self._ask(other, page)

    def _page(self, response: ReadEventsResponse) -> Page:
        gaps = [GapItem.of(gap) for gap in response.gaps]
        events = split(response.batch, self._types)
        return Page(
            response.batch.epoch,
            [gap for gap in gaps if not gap.selective],
            list(in_place(events, [gap for gap in gaps if gap.selective])),
            response.covered_through,
            response.more,
        )


def _place(request: PageRequest) -> tuple[object, ...]:
    """Return what tells one page from another."""
    return request.channel, request.lane, request.epoch, request.after, request.last_n, request.limit


def _page_message(request: PageRequest) -> ReadEventsRequest:
    message = ReadEventsRequest(
        channel=request.channel,
        lane=request.lane.wire_value,
        limit=request.limit,
    )
    if request.after is None:
        message.last_n = request.last_n
        message.limit = max(request.limit, request.last_n)
    else:
        message.after.CopyFrom(ReadAfter(epoch=request.epoch, offset=request.after))
    return message
