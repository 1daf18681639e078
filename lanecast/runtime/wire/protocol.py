"""One connection of either end: socket, flow of writes, keepalive.

Owns the transport and when it is read, written, asked for life and cut. What the bytes mean is decided by
`core.http2.Connection`; what the events are good for, by the subclasses in `server` and `channel`.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from lanecast.core.http2.connection import Connection
from lanecast.core.http2.events import ConnectionFailed, Event, Pong

KEEPALIVE_SECONDS = 15.0
"""Between two questions whether the peer is there, and how long it has for its answer: silence is noticed in 30 s."""

HANDSHAKE_SECONDS = 10.0
"""How long a peer has until it has shown that it speaks HTTP/2."""

WRITE_BUFFER_BYTES = 64 * 1024
"""Bytes that may wait for the socket before writers wait as well."""

_MAX_UNREAD_BYTES = 1024 * 1024
"""Bytes of answers (to pings, of windows, of ends) that may wait for a peer that reads nothing."""


class WireProtocol(asyncio.Protocol):
    """See the module."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.connection = connection
        self.loop = loop
        self.failure = ""
        """Why the connection failed, in a sentence; empty while it has not."""
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._roomy: list[asyncio.Future[None]] = []
        self._closed: asyncio.Future[None] = loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._asked = False

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
        # A transport of uvloop that is closed raises where asyncio's ignores what is written.
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def room(self) -> None:
        """Return once the socket takes more, or the connection is gone."""
        while self._paused and not self._closed.done():
            future = self.loop.create_future()
            self._roomy.append(future)
            await future

    def abort(self, reason: str) -> None:
        """Cut the connection at once."""
        self.failure = self.failure or reason
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """Close the connection once everything is written."""
        if self._transport is not None:
            self.send()
            self._transport.close()

    async def wait_closed(self) -> None:
        """Return once the connection is gone."""
        await asyncio.shield(self._closed)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._timer = self.loop.call_later(HANDSHAKE_SECONDS, self._check_greeting)
        self.send()

    def data_received(self, data: bytes) -> None:
        """Hand over what has come."""
        for event in self.connection.receive(data, self.loop.time()):
            if type(event) is Pong:
                self._asked = False
            elif type(event) is ConnectionFailed:
                self.failure = event.text
                self.on_event(event)
                self.finish()
                return
            else:
                self.on_event(event)
        self.send()
        if self._paused and self._unread() > _MAX_UNREAD_BYTES + WRITE_BUFFER_BYTES:
            self.abort("the peer sends and does not read")

    def pause_writing(self) -> None:
        """Let writers wait."""
        self._paused = True

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._paused = False
        self._wake()

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
        self._wake()
        self.on_lost()

    # Parts

    def _wake(self) -> None:
        waiting, self._roomy = self._roomy, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _unread(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _check_greeting(self) -> None:
        if self.connection.settled:
            self._timer = self.loop.call_later(KEEPALIVE_SECONDS, self._ask)
        else:
            self.abort(f"the peer did not speak HTTP/2 within {HANDSHAKE_SECONDS:g} s")

    def _ask(self) -> None:
        if self._asked:
            self.abort(f"the peer has not answered for {KEEPALIVE_SECONDS:g} s")
            return
        self._asked = True
        self.connection.ping()
        self.send()
        self._timer = self.loop.call_later(KEEPALIVE_SECONDS, self._ask)


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
