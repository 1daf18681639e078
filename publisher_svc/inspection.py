"""Answers operators' questions about this publisher; see `lanecast.runtime.agent`.

Owns the timer of `core.activity` and what a publisher knows of a channel: its rate, its heads, and how far its streams
are behind. Built by `app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from lanecast.core.priority import LANES
from lanecast.internal.v1 import agent_pb2
from lanecast.runtime.agent import in_turns
from lanecast.v1 import admin_pb2
from lanecast.v1.event_pb2 import LanePosition
from publisher_svc.core.activity import SLICE_SECONDS, Activity, greatest
from publisher_svc.reading import LogReader

MAX_NAMES, MAX_LIMIT = 4_000, 1_000
_CHANNELS_PER_TURN = 100


class Inspection:
    """Implements `lanecast.runtime.agent.Answerer`."""

    def __init__(self, activity: Activity, reader: LogReader, lags: Callable[[], Mapping[str, int]]) -> None:
        self._activity = activity
        self._reader = reader
        self._lags = lags
        self._timer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to count by time."""
        self._timer = asyncio.create_task(self._turn(), name="activity")

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)
            self._timer = None

    async def channels(self, question: agent_pb2.ChannelsQuestion) -> agent_pb2.ChannelsAnswer:
        """See `Answerer.channels`; a publisher knows no subscribers but its streams, so these are not counted."""
        rates, lags = await in_turns(self._activity.rates()), self._lags()
        names: Iterable[str] = question.names[:MAX_NAMES]
        if not question.names:
            measure: Mapping[str, float] = lags if question.order_by == admin_pb2.CHANNEL_ORDER_LAG else rates
            names = await in_turns(greatest(measure, min(max(question.limit, 1), MAX_LIMIT)))
        answer = agent_pb2.ChannelsAnswer()
        for number, name in enumerate(names, 1):
            answer.channels.append(self._status(name, rates.get(name, 0.0), lags.get(name, 0)))
            if number % _CHANNELS_PER_TURN == 0:
                await asyncio.sleep(0)
        return answer

    async def sessions(self, question: agent_pb2.SessionsQuestion) -> agent_pb2.SessionsAnswer:  # noqa: ARG002
        """See `Answerer.sessions`: sessions are the gateways'."""
        return agent_pb2.SessionsAnswer()

    async def disconnect(self, question: agent_pb2.DisconnectQuestion) -> agent_pb2.DisconnectAnswer:  # noqa: ARG002
        """See `Answerer.disconnect`: sessions are the gateways'."""
        return agent_pb2.DisconnectAnswer()

    def _status(self, name: str, rate: float, lag: int) -> admin_pb2.ChannelStatus:
        status = admin_pb2.ChannelStatus(channel=name, events_per_second=rate, lag=lag)
        for lane in LANES:
            head = self._reader.head((name, lane))
            if head:
                status.heads.append(LanePosition(lane=lane.wire_value, epoch=self._reader.epoch, offset=head))
        return status

    async def _turn(self) -> None:
        while True:
            await asyncio.sleep(SLICE_SECONDS)
            self._activity.turn()
