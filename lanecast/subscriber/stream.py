"""One subscription: an asynchronous iterator of deliveries.

Owns the task that keeps a gRPC stream open, and the moments at which positions are saved. What is delivered, dropped or
asked for again is decided by `core.inbox`, what is saved by `core.ledger`. Made by `Subscriber.events()`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from google.protobuf.message import Message

from lanecast.core.priority import Priority
from lanecast.cursors import CursorStore
from lanecast.errors import UnavailableError
from lanecast.subscriber.connection import SubscriberConnection
from lanecast.subscriber.core.inbox import Inbox
from lanecast.subscriber.core.items import Gap
from lanecast.subscriber.core.ledger import Ledger
from lanecast.subscriber.delivery import Delivery
from lanecast.subscriber.settings import Start, SubscriberSettings, SubscriberStatistics
from lanecast.transport import Targets

log = logging.getLogger("lanecast.subscriber")

OnGap = Callable[[Gap], None]
FindType = Callable[[str], Awaitable[type[Message] | None]]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What to subscribe to, and how."""

    channels: Sequence[str]
    lanes: Sequence[Priority]
    start: Start
    last_n: int
    auto_commit: bool
    on_gap: OnGap | None


class EventStream:
    """Yields `Delivery`s, the most urgent lane first, until it is closed. See `Subscriber.events`."""

    def __init__(
        self,
        name: str,
        targets: Targets,
        subscription: Subscription,
        cursors: CursorStore | None,
        settings: SubscriberSettings,
        find_type: FindType,
    ) -> None:
        self._name = name
        self._targets = targets
        self._subscription = subscription
        self._cursors = cursors
        self._settings = settings
        self._find_type = find_type
        self._ledger = Ledger()
        self._saving = asyncio.Lock()
        self._connection: SubscriberConnection | None = None
        self._starting = asyncio.Lock()
        self._last: Delivery | None = None
        self._delivered = 0
        self._gaps = 0
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        await self.subscribed()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(handled=kind is None)

    async def subscribed(self) -> None:
        """Return once the subscription stands: what is published from now on will be delivered.

        Raises:
            UnavailableError: no target answered within `connect_timeout`.
            StatusError: the service refuses the subscription or one of its channels.
        """
        connection = await self._start()
        await connection.wait_subscribed()
        await self._save()

    async def __anext__(self) -> Delivery:
        if self._closed:
            raise StopAsyncIteration
        self._handled()
        connection = await self._start()
        inbox = connection.inbox
        if self._ledger.commits >= self._settings.commit_every:
            await self._save()
        while True:
            item = inbox.next()
            if item is None:
                self._ledger.move_all(inbox.take_advanced())
                await self._save()
                if not await connection.wait():
                    raise StopAsyncIteration
                continue
            connection.taken()
            if isinstance(item, Gap):
                self._gap(item)
                continue
            key = item.batch.channel, item.batch.lane
            message_class = await self._find_type(item.event.data.type_url)
            delivery = Delivery(item, message_class, self._commit, self._ledger.delivered(key))
            self._delivered += 1
            self._last = delivery
            return delivery

    async def aclose(self, *, handled: bool = True) -> None:
        """Close the stream and save positions. Idempotent.

        Args:
            handled: False where the delivery given out last has not been handled, so that it is delivered again.
        """
        if self._closed:
            return
        self._closed = True
        if handled:
            self._handled()
        try:
            await self._save()
        finally:
            if self._connection is not None:
                await self._connection.close()

    @property
    def is_closed(self) -> bool:
        """True once `aclose` was called."""
        return self._closed

    def statistics(self) -> SubscriberStatistics:
        """Return a snapshot of counts and connection."""
        connection = self._connection
        inbox = connection.inbox if connection is not None else None
        return SubscriberStatistics(
            delivered=self._delivered,
            buffered=len(inbox) if inbox is not None else 0,
            duplicates=inbox.duplicates if inbox is not None else 0,
            gaps=self._gaps,
            recoveries=inbox.recoveries if inbox is not None else 0,
            connections=connection.connections if connection is not None else 0,
            target=connection.target if connection is not None else "",
        )

    def __repr__(self) -> str:
        channels = ", ".join(self._subscription.channels)
        target = self._connection.target if self._connection is not None else ""
        state = "closed" if self._closed else f"connected to {target}" if target else "not connected"
        return f"<EventStream of {channels} {state}, {self._delivered} delivered>"

    # Parts

    async def _start(self) -> SubscriberConnection:
        """Load the positions and connect, the first time."""
        if self._connection is not None:
            return self._connection
        async with self._starting:
            if self._connection is None:
                if self._closed:
                    raise UnavailableError("the stream is closed: make a new one with events()")
                subscription = self._subscription
                positions = await self._cursors.load(subscription.channels) if self._cursors is not None else {}
                inbox = Inbox(
                    subscription.channels,
                    subscription.lanes,
                    subscription.start.value,
                    subscription.last_n,
                    positions,
                    self._settings.window_bytes,
                )
                self._connection = SubscriberConnection(self._name, self._targets, inbox, self._settings, self._ledger)
                self._connection.start()
        return self._connection

    def _handled(self) -> None:
        """The loop has asked for more: what it got last is done."""
        delivery, self._last = self._last, None
        if delivery is not None and self._subscription.auto_commit:
            self._ledger.commit(delivery.key, delivery.serial, delivery.position)

    async def _commit(self, delivery: Delivery) -> None:
        self._ledger.commit(delivery.key, delivery.serial, delivery.position)
        await self._save()

    async def _save(self) -> None:
        if self._cursors is None:
            return
        async with self._saving:
            positions = self._ledger.take_unsaved()
            if not positions:
                return
            try:
                await self._cursors.save(positions)
            except BaseException:
                self._ledger.give_back(positions)
                raise

    def _gap(self, gap: Gap) -> None:
        self._gaps += 1
        self._ledger.move((gap.channel, gap.lane), gap.position)
        if self._subscription.on_gap is not None:
            self._subscription.on_gap(gap)
        else:
            log.warning(
                "events of %s %s between offsets %d and %d will not come (%s); pass on_gap to handle this",
                gap.channel, gap.lane.name, gap.from_offset, gap.to_offset, gap.reason,
            )  # fmt: skip
