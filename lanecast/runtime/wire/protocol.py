"""One connection of either end: socket, flow of writes, keepalive.

Owns the transport and when it is read, written, asked for life and cut. What the bytes mean is decided by
`core.http2.Connection`; what the events are good for, by the subclasses in `server` and `channel`.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import cast

from lanecast.core.http2.connection import Connection
from lanecast.core.http2.events import ConnectionFailed, Event
from lanecast.runtime.wire.gate import Gate

WRITE_BUFFER_BYTES = 64 * 1024
"""Bytes that may wait for the socket before writers wait as well."""

_MAX_UNREAD_BYTES = 1024 * 1024
"""Bytes of answers (to pings, of windows, of ends) that may wait for a peer that reads nothing."""

_GOODBYE_SECONDS = 1.0
"""How long a peer that broke a rule has to read why it is cut off."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the other end of a connection is waited for."""

    connect_seconds: float = 10.0
    """Until a connection is made."""
    handshake_seconds: float = 10.0
    """Until a peer has shown that it speaks TLS, and again until it has shown that it speaks HTTP/2."""
    keepalive_seconds: float = 15.0
    """Between two questions whether the peer is there, and for an answer: silence is noticed in twice that."""


class WireProtocol(asyncio.Protocol):
    """See the module."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, patience: Patience) -> None:
        self.connection = connection
        self.loop = loop
        self.patience = patience
        self.failure = ""
        """Why the connection failed, in a sentence; empty while it has not."""
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._paused = False
        self._unread_bytes = 0
        self._room = Gate(loop)
        self._closed: asyncio.Future[None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._asked = False
        self._due = 0.0

    # What the subclasses do

    def on_event(self, event: Event) -> None:
        """Take one event of the connection."""
        raise NotImplementedError

    def on_lost(self) -> None:
        """The connection is gone."""
        raise NotImplementedError

    # Writing

    @property
    def paused(self) -> bool:
        """True while the socket takes no more."""
        return self._paused

    @property
    def peer(self) -> str:
        """The address of the other end as gRPC writes it."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        if not isinstance(name, tuple):
            return "unknown"
        host, port = name[:2]
        return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"

    def send(self) -> None:
        """Write what the connection has to say."""
        data = self.connection.take()
        if data and self._transport is not None and not self._closing:
            self._transport.write(data)

    async def room(self) -> None:
        """Return once the socket takes more, or the connection is gone."""
        while self._paused and not self._closed.done():
            await self._room.wait()

    def abort(self, reason: str) -> None:
        """Cut the connection at once."""
        self.failure = self.failure or reason
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """Close the connection once everything is written. Idempotent."""
        if self._transport is not None and not self._closing:
            self.send()
            self._closing = True
            self._transport.close()

    async def wait_closed(self) -> None:
        """Return once the connection is gone."""
        await asyncio.shield(self._closed)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._timer = self.loop.call_later(self.patience.handshake_seconds, self._check_greeting)
        self.send()

    def data_received(self, data: bytes) -> None:
        """Hand over what has come."""
        self._asked = False  # whatever it says, it is there
        connection = self.connection
        late_bytes = connection.late_bytes
        for event in connection.receive(data, self.loop.time()):
            if type(event) is ConnectionFailed:
                self.failure = event.text
                self.on_event(event)
                self.finish()
                self._cut_soon()
                return
            self.on_event(event)
        if self._paused:
            self._answer(late_bytes)
        else:
            self.send()

    def pause_writing(self) -> None:
        """Let writers wait."""
        self._paused = True

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._paused = False
        self._unread_bytes = 0
        self._room.open()

    def eof_received(self) -> bool:
        """Close as well."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone."""
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed.done():
            self._closed.set_result(None)
        if exc is not None and not self.failure:
            self.failure = describe(exc)
        self._closing = True
        self._room.open()
        self.on_lost()

    # Parts

    def _answer(self, late_bytes: int) -> None:
        """Send what a peer has caused that is not reading, within bounds.

        Messages are not counted: who writes them waits for room in the socket, and the peer's own windows let them go.
        """
        data = self.connection.take()
        if not data or self._transport is None or self._closing:
            return
        self._transport.write(data)
        self._unread_bytes += len(data) - (self.connection.late_bytes - late_bytes)
        if self._unread_bytes > _MAX_UNREAD_BYTES:
            self.abort("the peer sends and does not read")

    def _cut_soon(self) -> None:
        """Cut a peer that broke a rule even where it does not read what it is told about that."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(_GOODBYE_SECONDS, self.abort, self.failure)

    def _check_greeting(self) -> None:
        if self.connection.settled:
            self._ask()
        else:
            self.abort(f"the peer did not speak HTTP/2 within {self.patience.handshake_seconds:g} s")

    def _ask(self) -> None:
        now = self.loop.time()
        seconds = self.patience.keepalive_seconds
        # Where this timer is late, this process stood still: what the peer has said meanwhile may be unread.
        if self._asked and now - self._due < seconds / 2:
            self.abort(f"the peer has not answered for {seconds:g} s")
            return
        self._asked = True
        self._due = now + seconds
        self.connection.ping()
        self.send()
        self._timer = self.loop.call_later(seconds, self._ask)


_SIGNS = (
    (("hostname mismatch", "ip address mismatch", "doesn't match"), "Hostname Verification Check failed"),
    (("certificate_verify_failed",), "CERTIFICATE_VERIFY_FAILED"),
    (("wrong_version_number", "record layer failure", "unknown protocol"), "WRONG_VERSION_NUMBER"),
    (("certificate_required", "certificate required"), "CERTIFICATE_REQUIRED"),
)


def describe(error: Exception) -> str:
    """Return what went wrong with a connection, with the signs that `lanecast.runtime.tls.explain` knows."""
    text = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLError):
        for signs, meaning in _SIGNS:
            if any(sign in text.lower() for sign in signs):
                return meaning
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text
