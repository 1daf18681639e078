"""The asynchronous subscriber.

Owns the list of open event streams and the service's types. Called by users and by the blocking subscriber; each
subscription is an `EventStream`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.message import Message

from lanecast.core.priority import Priority
from lanecast.cursors import CursorStore
from lanecast.errors import ConfigError, LanecastError
from lanecast.runtime import status
from lanecast.subscriber.settings import Start, SubscriberSettings
from lanecast.subscriber.stream import EventStream, OnGap, Subscription
from lanecast.subscriber.types import TypeResolver
from lanecast.transport import Targets, Tls, is_final, open_channel, unreachable
from lanecast.v1.publisher_pb2 import ListEventTypesRequest, ListEventTypesResponse

log = logging.getLogger("lanecast.subscriber")

_LIST_EVENT_TYPES = "/lanecast.v1.PublisherService/ListEventTypes"
_ATTEMPT_PAUSE_SECONDS = 0.1


class Subscriber:
    """Receives the events of channels, each once and in order within its channel and lane.

    Use::

        async with Subscriber("127.0.0.1:7400", cursors=FileCursorStore("cursors.db")) as subscriber:
            async for delivery in subscriber.events(["bots:handoffs"]):
                print(delivery.channel, delivery.message)

    *Positions.* With a lasting cursor store a subscriber that starts again goes on behind what it had handled. By
    default a delivery counts as handled once the loop asks for the next one; positions are saved whenever the loop
    waits for more, and at the latest after `commit_every` events. So after a crash up to so many events come again:
    delivery is at least once. With `auto_commit=False` only `await delivery.commit()` saves, at once. Exactly once
    needs the position in the same transaction as the effect, see `CursorStore`.

    *Leaving the loop* by `break` counts the last delivery as handled, by an exception does not, where the `with` block
    of the subscriber (or of the stream) ends with it.

    *Slow loops* are waited for: at most `window_bytes` per lane are under way or buffered, the rest stays in the log.
    """

    def __init__(
        self,
        targets: str | Sequence[str] = "127.0.0.1:7400",
        *,
        name: str = "",
        cursors: CursorStore | None = None,
        settings: SubscriberSettings | None = None,
        tls: Tls | None = None,
    ) -> None:
        """Prepare a subscriber; nothing is opened before the `async with` block.

        Args:
            targets: `host:port` of one or several equivalent publisher services.
            name: Names the subscriber for operators.
            cursors: Where positions are kept; None: nowhere, each event stream begins at its `start`.
            settings: Limits and timeouts.
            tls: How the services are called; None: as the section `tls` of the configuration says, else in plain text.

        Raises:
            ConfigError: a target is malformed.
        """
        self._targets = Targets(targets, tls)
        self._name = name
        self._cursors = cursors
        self._settings = settings or SubscriberSettings()
        self._types = TypeResolver()
        self._unknown: set[str] = set()
        self._streams: list[EventStream] = []

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(handled=kind is None)

    async def connect(self) -> None:
        """See that a publisher service answers; `async with` does it for you.

        Raises:
            UnavailableError: no target answered within `connect_timeout`; names them and says what to do.
            StatusError: the service refuses.
        """
        seconds = self._settings.connect_timeout
        last: LanecastError | None = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    last = await self._try_types(seconds / min(2, len(self._targets.names)))
                    if last is None:
                        return
                    await asyncio.sleep(_ATTEMPT_PAUSE_SECONDS)
        except TimeoutError:
            raise unreachable(self._targets, seconds, last) from None

    def events(
        self,
        channels: str | Sequence[str],
        *,
        lanes: Sequence[Priority] = (),
        start: Start = Start.LATEST,
        last_n: int = 0,
        auto_commit: bool = True,
        on_gap: OnGap | None = None,
    ) -> EventStream:
        """Return the events of channels as an asynchronous iterator; it connects when it is first asked for one.

        `async with subscriber.events(…) as stream` returns once the subscription stands, before the first event.

        Args:
            channels: One channel or several.
            lanes: The lanes wanted; empty: all four. The most urgent buffered event always comes first.
            start: Where to begin in a lane that the cursor store has no position for.
            last_n: Number of events per lane for `Start.LAST_N`.
            auto_commit: See the class.
            on_gap: Called, in its place among the deliveries, for events that will not come: expired, conflated,
                dropped because this loop is too slow for LOW, or removed by retention. None: a warning is logged. Gaps
                are never items of the loop, so that a loop need not tell them from deliveries.

        Raises:
            ConfigError: no channel, or `last_n` missing.
        """
        names = [channels] if isinstance(channels, str) else list(channels)
        if not names:
            raise ConfigError("no channel given: name at least one, for example agent:42")
        if start is Start.LAST_N and last_n < 1:
            raise ConfigError("Start.LAST_N needs last_n, for example last_n=10")
        subscription = Subscription(names, tuple(lanes), start, last_n, auto_commit, on_gap)
        self._streams = [stream for stream in self._streams if not stream.is_closed]
        stream = EventStream(self._name, self._targets, subscription, self._cursors, self._settings, self._find_type)
        self._streams.append(stream)
        return stream

    async def close(self) -> None:
        """Close all event streams and save their positions. Idempotent."""
        await self._close(handled=True)

    async def _close(self, *, handled: bool) -> None:
        streams, self._streams = self._streams, []
        results = await asyncio.gather(*[stream.aclose(handled=handled) for stream in streams], return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _find_type(self, type_url: str) -> type[Message] | None:
        """Return the class of a payload; ask the service once for a type that is new."""
        found = self._types.find(type_url)
        if found is not None or type_url in self._unknown:
            return found
        try:
            error = await self._try_types(self._settings.connect_timeout)
        except LanecastError as refusal:
            error = refusal
        if error is not None:
            log.warning("the types of %s cannot be listed: %s", self._targets, error)
            return None
        found = self._types.find(type_url)
        if found is None:
            self._unknown.add(type_url)
        return found

    async def _try_types(self, seconds: float) -> LanecastError | None:
        """Load the types from the first target that answers; return what is wrong with the last where none does.

        Raises:
            StatusError: a target refuses for good.
        """
        last: LanecastError | None = None
        for target in self._targets.names:
            try:
                await self._load_types(target, seconds)
            except LanecastError as error:
                if is_final(error):
                    raise
                last = error
            else:
                return None
        return last

    async def _load_types(self, target: str, seconds: float) -> None:
        channel = open_channel(target, self._targets.tls)
        try:
            call = channel.unary_unary(
                _LIST_EVENT_TYPES, ListEventTypesRequest.SerializeToString, ListEventTypesResponse.FromString
            )
            response = await call(ListEventTypesRequest(known_version=self._types.version), timeout=seconds)
        except grpc.RpcError as error:
            raise status.from_rpc_error(error) from error
        finally:
            await channel.close()
        if response.version != self._types.version:
            self._types.load(response.version, response.descriptors)
