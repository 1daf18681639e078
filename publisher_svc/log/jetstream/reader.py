"""Reading the stream from a known sequence onwards, through losses of connection, server and leader.

Owns the pull loop. A consumer of its own, without acknowledgements and kept in memory by the server, begins behind the
last message read; where one message of it is missing, or nothing is heard for longer than two heartbeats, it is left
and the next one made. So nothing is skipped and nothing waits for ever. What is read goes to one function, in order.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from lanecast.errors import LanecastError
from publisher_svc.log.base import LogError
from publisher_svc.log.jetstream.core.replies import Place, place_of, rfc3339
from publisher_svc.log.jetstream.link import ApiError, Link, LinkError
from publisher_svc.log.jetstream.settings import JetStreamSettings
from publisher_svc.log.jetstream.stream import StreamFacts, look

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

_NANOS = 1_000_000_000
_BATCH = 256
"""Messages asked for at once; at most 128 KiB each."""
_PULL_SECONDS = 30
_HEARTBEAT_SECONDS = 1
_FORGOTTEN_SECONDS = 30
"""After this the server drops a consumer that nobody reads."""
_RETRY_SECONDS = 0.2
_STATUS = "Status"


class StreamReader:
    """See the module's first lines."""

    def __init__(
        self,
        link: Link,
        settings: JetStreamSettings,
        on_message: Callable[[str, Place, bytes, str], None],
        on_look: Callable[[StreamFacts], Awaitable[None]],
    ) -> None:
        """Prepare.

        Args:
            link: The connection.
            settings: Name of the stream, and times.
            on_message: Called with subject, place, data and message id ("" without one). A `LogError` ends reading.
            on_look: Called whenever the stream was looked at, before reading begins and now and then. A `LogError`
                other than `LinkError` ends reading.
        """
        self._link = link
        self._settings = settings
        self._on_message = on_message
        self._on_look = on_look
        self._after = 0
        self._since_ns: int | None = None
        self._turn = 0
        self._delivered = 0
        self._wanted = 0
        self._heard = 0.0
        self._broken = ""
        self._failure: LogError | None = None
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, after: int, since_ns: int | None, on_end: Callable[[LogError], None]) -> None:
        """Begin to read.

        Args:
            after: The message behind which to begin.
            since_ns: Where given, begin at the first message of this time instead.
            on_end: Called where reading cannot go on.
        """
        self._after, self._since_ns = after, since_ns
        self._task = asyncio.create_task(self._run(on_end), name="stream-reader")

    async def close(self) -> None:
        """Stop. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, on_end: Callable[[LogError], None]) -> None:
        while self._failure is None:
            try:
                client = await self._link.connected()
                await self._on_look(await look(self._link, self._settings))
                await self._follow(client)
            except (LinkError, ApiError) as error:
                log.info("reading the stream begins anew behind message %d: %s", self._after, error)
            except LogError as error:
                self._failure = error
                break
            await asyncio.sleep(_RETRY_SECONDS)
        assert self._failure is not None
        on_end(self._failure)

    async def _follow(self, client: Client) -> None:
        """Read through one consumer until something is wrong with it."""
        from nats import errors

        name = f"lanecast-{secrets.token_hex(8)}"
        inbox = client.new_inbox()
        await self._link.api(f"CONSUMER.CREATE.{self._settings.stream}.{name}", self._consumer(name))
        self._delivered = self._wanted = 0
        self._broken = ""
        self._heard = asyncio.get_running_loop().time()
        try:
            turn = self._turn = self._turn + 1

            async def take(message: Msg) -> None:
                if turn == self._turn:  # a consumer that was left may still have sent something
                    self._take(message)

            subscription = await client.subscribe(inbox, cb=take)
            try:
                await self._pull_on(client, name, inbox)
            finally:
                await self._leave(client, subscription, name)
        except (errors.Error, OSError) as error:
            raise LinkError(str(error) or type(error).__name__) from error

    async def _pull_on(self, client: Client, name: str, inbox: str) -> None:
        loop = asyncio.get_running_loop()
        waits = self._settings.waits
        looked = loop.time()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._settings.stream}.{name}"
        ask = {"batch": _BATCH, "expires": _PULL_SECONDS * _NANOS, "idle_heartbeat": _HEARTBEAT_SECONDS * _NANOS}
        request = json.dumps(ask).encode()
        while True:
            while self._wanted <= _BATCH:
                self._wanted += _BATCH
                await client.publish(subject, request, reply=inbox)
            self._stirred.clear()
            try:
                async with asyncio.timeout(_HEARTBEAT_SECONDS / 2):
                    await self._stirred.wait()
            except TimeoutError:
                pass
            if self._failure is not None:
                raise self._failure
            if client is not self._link.client or client.is_closed:
                raise LinkError("the connection was lost")
            if self._broken or loop.time() - self._heard > waits.silence:
                raise LinkError(self._broken or f"nothing was heard for {waits.silence:g} s")
            if loop.time() - looked > waits.refresh:
                looked = loop.time()
                await self._on_look(await look(self._link, self._settings))

    async def _leave(self, client: Client, subscription: Any, name: str) -> None:
        """Let go of the consumer, as far as that is possible: the server forgets it soon anyway."""
        from nats import errors

        try:
            async with asyncio.timeout(self._settings.waits.request):
                await subscription.unsubscribe()
                await client.publish(f"$JS.API.CONSUMER.DELETE.{self._settings.stream}.{name}")
        except (errors.Error, OSError, TimeoutError) as error:
            log.debug("a consumer was left to the server: %s", error)

    def _consumer(self, name: str) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": _FORGOTTEN_SECONDS * _NANOS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        if self._since_ns is not None:
            config |= {"deliver_policy": "by_start_time", "opt_start_time": rfc3339(self._since_ns)}
        else:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._after + 1}
        return {"stream_name": self._settings.stream, "config": config}

    def _take(self, message: Msg) -> None:
        """Take what comes to the inbox: messages, heartbeats, and what became of a pull."""
        if self._broken or self._failure is not None:
            return
        self._heard = asyncio.get_running_loop().time()
        headers = message.headers or {}
        if not message.reply or _STATUS in headers:
            self._on_status(headers.get(_STATUS, ""), headers)
            return
        try:
            place = place_of(message.reply)
        except ValueError as error:
            self._break(str(error))
            return
        if place.delivery != self._delivered + 1 or place.sequence <= self._after:
            self._break(f"message {place.sequence} came as number {place.delivery} behind {self._delivered}")
            return
        try:
            self._on_message(message.subject, place, message.data, headers.get("Nats-Msg-Id", ""))
        except LanecastError as error:
            self._failure = error if isinstance(error, LogError) else LogError(str(error))
            self._stirred.set()
            return
        self._delivered = place.delivery
        self._after, self._since_ns = place.sequence, None
        self._wanted -= 1
        if self._wanted <= _BATCH:
            self._stirred.set()

    def _on_status(self, status: str, headers: dict[str, str]) -> None:
        if status == "100":
            return
        if status in {"404", "408"}:  # a pull has ended: what it did not bring is no longer on its way
            self._wanted = max(0, self._wanted - int(headers.get("Nats-Pending-Messages", _BATCH)))
            self._stirred.set()
            return
        self._break(f"the consumer is gone ({status} {headers.get('Description', '')})")

    def _break(self, why: str) -> None:
        self._broken = why
        self._stirred.set()
