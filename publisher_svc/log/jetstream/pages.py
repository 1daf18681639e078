"""Reading back from the stream: pages of one channel and lane, from any position.

Owns the way from a position to events. Messages come in batches by the direct-get API, which any replica answers, also
one that lags. A replica holds a prefix of the stream, so a page is complete once the last message of its subject, as
this publisher has read it, was among the answers; until then it is asked again.

Below the reader's floor it is not known which events are repetitions. There a page begins as much earlier as an id is
remembered, with all lanes of the partition, and folds the copies itself; such a scan is kept for the next page.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lanecast.core import wire
from publisher_svc.log.base import ChannelLane, LogError, Page, StoredEvent
from publisher_svc.log.jetstream.core.fold import LogFold
from publisher_svc.log.jetstream.core.layout import (
    first_kept,
    first_offset_of,
    index_of,
    last_offset_of,
    partition_of,
    sequence_of,
    subject_of,
)
from publisher_svc.log.jetstream.core.packing import Message, unpack
from publisher_svc.log.jetstream.core.replies import rfc3339, unix_nano
from publisher_svc.log.jetstream.core.window import SETTLING_NS, CopyWindow
from publisher_svc.log.jetstream.link import ApiError, Link, LinkError
from publisher_svc.log.jetstream.settings import JetStreamSettings

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_BATCH = 64
_BATCH_BYTES = 1024 * 1024
_LAG_SECONDS = 0.05
_KEPT_SCANS = 64
_LOOK_BACK_MESSAGES = 20_000
"""How far back the last events of a channel are looked for."""
_NOT_FOUND = 10037
_END = "204"
_NONE = "404"


@dataclass(slots=True)
class Found:
    """A deliverable event of the channel and lane that is read."""

    offset: int
    data: bytes
    accept_ns: int
    bound: int
    """No event of its channel and lane lies in (bound, read_through], as its writer knew."""
    read_through: int


@dataclass(slots=True)
class Scan:
    """A way through the stream for one channel and lane."""

    key: ChannelLane
    partition: int
    filter: str
    next_sequence: int
    after: int
    """Events up to here are not wanted."""
    window: CopyWindow | None = None
    """Where this is set, the scan folds copies itself."""
    seen: int = 0
    """The last message that came."""
    found: deque[Found] = field(default_factory=deque)


class PageReader:
    """See the module's first lines."""

    def __init__(self, link: Link, settings: JetStreamSettings, fold: LogFold, partitions: int) -> None:
        self._link = link
        self._settings = settings
        self._fold = fold
        self._partitions = partitions
        self._kept: OrderedDict[tuple[ChannelLane, int], Scan] = OrderedDict()
        self._old_ends: dict[str, int] = {}
        """Last messages of subjects that have none above the floor."""

    async def read(self, key: ChannelLane, after: int, limit: int, first_sequence: int) -> Page:
        """Read a page; see `base.EventLog.read`."""
        fold = self._fold
        end = fold.end_offset
        if fold.head(key) <= after:
            return Page(covered_through=max(end, after))
        scan = self._kept.pop((key, after), None) or await self._begin(key, after, first_sequence)
        await self._advance(scan, limit + 1, end)
        page = _page(scan, after, limit, end, first_kept(first_sequence))
        if scan.window is not None and page.more:
            self._kept[key, page.covered_through] = scan
            while len(self._kept) > _KEPT_SCANS:
                self._kept.popitem(last=False)
        return page

    async def floor_of_last(self, key: ChannelLane, count: int, first_sequence: int) -> int:
        """Look back in growing steps; see `base.EventLog.floor_of_last`."""
        end = self._fold.end_offset
        target = await self._target(key)
        span = max(64, count)
        while True:
            start = max(first_sequence, target - span)
            scan = await self._begin(key, last_offset_of(start - 1) if start > 1 else 0, first_sequence)
            await self._advance(scan, 1 << 30, end)
            if len(scan.found) >= count:
                return scan.found[-count].offset - 1
            if start <= first_sequence or span >= _LOOK_BACK_MESSAGES:
                return last_offset_of(start - 1) if start > 1 else 0
            span *= 4

    async def get(self, offset: int) -> StoredEvent | None:
        """Return one event; see `base.EventLog.get`."""
        answer = await self._direct({"seq": sequence_of(offset)})
        if not answer:
            return None
        message = answer[0]
        if message.sequence != sequence_of(offset) or index_of(offset) >= len(message.records):
            return None
        record = message.records[index_of(offset)]
        position = wire.event_position(offset, record.prev_offset, record.accept_time_unix_nano)
        return StoredEvent(offset, record.prev_offset, record.event + position)

    # Scanning

    async def _begin(self, key: ChannelLane, after: int, first_sequence: int) -> Scan:
        channel, lane = key
        partition = partition_of(channel, self._partitions)
        start = max(sequence_of(after), first_sequence, 1)
        if after >= self._fold.floor:
            return Scan(key, partition, subject_of(self._settings.prefix, partition, lane), start, after)
        every_lane = f"{self._settings.prefix}.{partition}.*"
        here = await self._direct({"seq": start, "next_by_subj": every_lane})
        if here and start > first_sequence:
            time = rfc3339(here[0].time_ns - SETTLING_NS)
            earlier = await self._direct({"start_time": time, "next_by_subj": every_lane})
            start = min(start, earlier[0].sequence) if earlier else start
        return Scan(key, partition, every_lane, start, after, CopyWindow())

    async def _advance(self, scan: Scan, wanted: int, end: int) -> None:
        """Read on until enough is found, or everything up to `end` was seen."""
        last = sequence_of(end)
        target = min(last, await self._target(scan.key))
        while len(scan.found) < wanted and scan.seen < target and scan.next_sequence <= last:
            ask = {"seq": scan.next_sequence, "next_by_subj": scan.filter, "batch": _BATCH, "max_bytes": _BATCH_BYTES}
            messages = await self._direct(ask)
            for message in messages:
                if message.sequence <= last:
                    self._take(scan, message)
                scan.seen = message.sequence
            if messages:
                scan.next_sequence = messages[-1].sequence + 1
            elif scan.seen < target:  # a replica that lags, or what was there is gone
                target = min(target, await self._asked_target(scan.key))
                await asyncio.sleep(_LAG_SECONDS)

    def _take(self, scan: Scan, message: Message) -> None:
        channel, lane = scan.key
        offset = first_offset_of(message.sequence) - 1
        mine = message.lane == lane
        for record in message.records:
            offset += 1
            if scan.window is not None:
                repeated = scan.window.first(record.mark, offset, message.time_ns) != offset
            else:
                repeated = self._fold.is_repeated(offset)
            if mine and not repeated and offset > scan.after and message.channels[record.channel] == channel:
                found = Found(
                    offset, record.event, record.accept_time_unix_nano, record.prev_offset, message.read_through
                )
                scan.found.append(found)

    async def _target(self, key: ChannelLane) -> int:
        """Return the last message of the subject of a channel and lane."""
        channel, lane = key
        partition = partition_of(channel, self._partitions)
        known = self._fold.last_sequence(partition, lane)
        if known is not None:
            return known
        subject = subject_of(self._settings.prefix, partition, lane)
        old = self._old_ends.get(subject)
        if old is None:
            old = self._old_ends[subject] = min(await self._asked_target(key), sequence_of(self._fold.end_offset))
        return old

    async def _asked_target(self, key: ChannelLane) -> int:
        """Ask the leader for the last message of a subject; 0 where there is none."""
        channel, lane = key
        subject = subject_of(self._settings.prefix, partition_of(channel, self._partitions), lane)
        try:
            answer = await self._link.api(f"STREAM.MSG.GET.{self._settings.stream}", {"last_by_subj": subject})
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return 0
            raise
        sequence: int = answer["message"]["seq"]
        return sequence

    # Direct get

    async def _direct(self, ask: dict[str, Any]) -> list[Message]:
        """Ask for messages until somebody answers; the caller has a deadline."""
        while True:
            try:
                return await self._ask(ask)
            except LinkError:
                await asyncio.sleep(_LAG_SECONDS)
                await self._link.connected()

    async def _ask(self, ask: dict[str, Any]) -> list[Message]:
        from nats import errors

        client = self._link.client
        messages: list[Message] = []
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        single = "batch" not in ask

        async def take(answer: Msg) -> None:
            headers = answer.headers or {}
            status = headers.get("Status", "")
            try:
                if not status:
                    messages.append(_message(headers, answer.data))
            except LogError as error:
                if not done.done():
                    done.set_exception(error)
            if (status or single) and not done.done():
                done.set_result(status)

        try:
            inbox = client.new_inbox()
            subscription = await client.subscribe(inbox, cb=take)
            try:
                await client.publish(
                    f"$JS.API.DIRECT.GET.{self._settings.stream}", json.dumps(ask).encode(), reply=inbox
                )
                async with asyncio.timeout(self._settings.waits.request):
                    status = await done
            finally:
                await subscription.unsubscribe()
        except TimeoutError as error:
            raise LinkError("the stream does not answer") from error
        except (errors.Error, OSError) as error:
            raise LinkError(str(error) or type(error).__name__) from error
        if status not in {"", _END, _NONE}:
            raise LinkError(f"the stream does not answer: status {status}")
        return messages


def _message(headers: dict[str, str], data: bytes) -> Message:
    time_ns = unix_nano(headers["Nats-Time-Stamp"])
    return unpack(headers["Nats-Subject"], int(headers["Nats-Sequence"]), time_ns, data)


def _page(scan: Scan, after: int, limit: int, end: int, first_offset: int) -> Page:
    """Take a page from what a scan has found."""
    missing = _missing_through(scan, after, first_offset)
    events = list(_events(scan, max(after, missing or 0), limit))
    more = bool(scan.found)
    return Page(events, events[-1].offset if more else max(end, after), missing, more)


def _missing_through(scan: Scan, after: int, first_offset: int) -> int | None:
    """Say whether retention may have removed events behind `after`, and up to where.

    The first event that is left tells what its writer knew: where no event stood between the reader's position and
    what is left of the stream, a channel was merely quiet.
    """
    if after >= first_offset - 1:
        return None
    if scan.found:
        first = scan.found[0]
        if first.bound <= after and first.read_through >= first_offset - 1:
            return None
    return first_offset - 1


def _events(scan: Scan, after: int, limit: int) -> Iterator[StoredEvent]:
    previous = after
    for _ in range(min(limit, len(scan.found))):
        found = scan.found.popleft()
        position = wire.event_position(found.offset, previous, found.accept_ns)
        yield StoredEvent(found.offset, previous, found.data + position)
        previous = found.offset
