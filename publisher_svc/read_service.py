"""ReadEvents and ListEventTypes.

Owns the checks of these requests. Called by the gRPC server; reads through `reading`.
"""

from __future__ import annotations

from lanecast.core import wire
from lanecast.core.channel import check_channel
from lanecast.core.limits import MAX_EVENTS_PER_MESSAGE
from lanecast.core.position import Position
from lanecast.core.priority import LANES, Priority
from lanecast.errors import StatusError
from lanecast.runtime import status
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import GAP_REASON_EXPIRED, EventBatch, Gap
from publisher_svc.core.expiry import Expiry, sift
from publisher_svc.core.registry import TypeRegistry
from publisher_svc.log.base import ChannelLane, LogError
from publisher_svc.reading import LogReader

_DEFAULT_LIMIT = 256
_MAX_LAST_N = 1_000
_MAX_PAGE_BYTES = 1024 * 1024


class ReadService:
    """The reading half of `lanecast.v1.PublisherService`."""

    def __init__(self, reader: LogReader, registry: TypeRegistry, expiry: Expiry) -> None:
        self._reader = reader
        self._expiry = expiry
        self._registry = registry

    async def read_events(self, request: pb.ReadEventsRequest) -> pb.ReadEventsResponse:
        """Answer ReadEvents."""
        key = _key(request)
        try:
            return await self._page(key, request)
        except LogError as error:
            message = f"the log cannot be read now: {error}"
            raise StatusError(status.UNAVAILABLE, "LOG_UNAVAILABLE", message, retry_delay_seconds=0.5) from error

    async def _page(self, key: ChannelLane, request: pb.ReadEventsRequest) -> pb.ReadEventsResponse:
        gaps: list[Gap] = []
        if request.WhichOneof("start") == "last_n":
            cursor = await self._reader.floor_of_last(key, request.last_n)
        else:
            beginning = await self._reader.resume(key, Position(request.after.epoch, request.after.offset))
            cursor = beginning.cursor
            gaps += [beginning.gap] if beginning.gap is not None else []
        reading = await self._reader.read(key, cursor, request.limit or _DEFAULT_LIMIT)
        if reading.missing_through is not None and reading.missing_through > cursor:
            gaps.append(self._reader.gap(key, cursor, reading.missing_through))
            cursor = reading.missing_through
        count = _fitting(reading.events)
        cut = count < len(reading.events)
        runs = sift(reading.events[:count], cursor, self._expiry.wall_ns())
        lost = [run.missing for run in runs if run.missing is not None]
        gaps += [self._reader.gap(key, each.after, each.through, GAP_REASON_EXPIRED, each.count) for each in lost]
        events = [data for run in runs for _, data in run.events]
        data = wire.replayed_batch(wire.batch_head(key[0], key[1], self._reader.epoch), events)
        batch = EventBatch.FromString(data)
        return pb.ReadEventsResponse(
            batch=batch,
            covered_through=reading.events[count - 1][0] if cut else reading.covered_through,
            first_available=self._reader.first_offset,
            gaps=gaps,
            more=cut or reading.more,
        )

    def list_event_types(self, request: pb.ListEventTypesRequest) -> pb.ListEventTypesResponse:
        """Answer ListEventTypes."""
        registry = self._registry
        response = pb.ListEventTypesResponse(version=registry.version, types=registry.names)
        if request.known_version != registry.version:
            response.descriptors.CopyFrom(registry.descriptors)
        return response


def _key(request: pb.ReadEventsRequest) -> ChannelLane:
    problem = check_channel(request.channel)
    if problem is not None:
        raise StatusError(status.INVALID_ARGUMENT, "CHANNEL_INVALID", problem, field="channel")
    if request.lane not in {lane.wire_value for lane in LANES}:
        message = f"lane {request.lane} is unknown: set it to CRITICAL, HIGH, NORMAL or LOW"
        raise StatusError(status.INVALID_ARGUMENT, "LANE_UNKNOWN", message, field="lane")
    if request.limit > MAX_EVENTS_PER_MESSAGE:
        message = f"limit is {request.limit}: use 1 to {MAX_EVENTS_PER_MESSAGE}, or 0 for {_DEFAULT_LIMIT}"
        raise StatusError(status.INVALID_ARGUMENT, "LIMIT_INVALID", message, field="limit")
    if request.WhichOneof("start") == "last_n" and not 1 <= request.last_n <= _MAX_LAST_N:
        message = f"last_n is {request.last_n}: use 1 to {_MAX_LAST_N}"
        raise StatusError(status.INVALID_ARGUMENT, "LAST_N_INVALID", message, field="last_n")
    return request.channel, Priority(request.lane)


def _fitting(events: list[tuple[int, bytes]]) -> int:
    """Return how many events fit into a page: at least one."""
    size = 0
    for count, (_, event) in enumerate(events):
        size += len(event)
        if size > _MAX_PAGE_BYTES and count:
            return count
    return len(events)
