"""What the messages of a publisher's streams mean.

Owns the order in which the parts of a message take effect, that of their field numbers; batches go to `dispatch`, all
else to the hub. Called by `link` with each message as it came; one for each link.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from gateway_svc.clock import ClockWatch
from gateway_svc.core.hub import Hub
from gateway_svc.core.items import AdvanceItem, GapItem
from gateway_svc.dispatch import Dispatcher, Used
from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.internal.v1.stream_pb2 import StreamEventsResponseView
from lanecast.v1.publisher_pb2 import ChannelAdded

log = logging.getLogger(__name__)


class Intake:
    """See the module."""

    def __init__(self, hub: Hub, dispatcher: Dispatcher, clock: ClockWatch, on_drain: Callable[[int], None]) -> None:
        self._hub = hub
        self._dispatcher = dispatcher
        self._clock = clock
        self._on_drain = on_drain
        """Told the milliseconds of grace of a publisher that is going away."""

    async def take(self, data: bytes, used: Used, *, express: bool) -> None:
        """Carry out one message of the express or of the bulk stream; returns when there is room for more."""
        receive_ns = time.time_ns()
        view = StreamEventsResponseView.FromString(data)
        if view.added:
            self._on_added(view.added)
        for gap in view.gaps:
            await self._on_gap(GapItem.of(gap))
        batches = view.batches
        if batches:
            if express:
                self._dispatcher.express(batches, receive_ns, used)
            else:
                await self._dispatcher.bulk(batches, receive_ns, used)
        for advance in view.advances:
            item = AdvanceItem(advance.channel, Priority(advance.lane), advance.epoch, advance.through_offset)
            await self._dispatcher.settle(item.channel, item.lane)
            self._hub.advance(item, time.monotonic())
        if view.HasField("clock"):
            self._clock.answered(view.clock, receive_ns)
        if view.HasField("drain"):
            self._on_drain(view.drain.grace_millis)

    def _on_added(self, added: Sequence[ChannelAdded]) -> None:
        for channel in added:
            if channel.HasField("error"):
                log.warning("the publisher refused the channel %s: %s", channel.channel, channel.error.message)
                self._hub.refused(channel.channel, channel.error.message)
                continue
            positions = [(Priority(each.lane), Position(each.epoch, each.offset)) for each in channel.positions]
            self._hub.positioned(channel.channel, positions)

    async def _on_gap(self, gap: GapItem) -> None:
        await self._dispatcher.settle(gap.channel, gap.lane)
        if gap.rewinds:
            self._hub.rewind(gap)
            return
        accepted = self._hub.accept(gap)
        if accepted is not None:
            item, feed = accepted
            self._hub.distribute(item, feed.live_readers())
