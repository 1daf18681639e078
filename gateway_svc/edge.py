"""The listener and what all connections share.

Owns the listening socket, the set of connections, and who must get on by when. Built by `app`; used by the connections,
the heartbeat and the drain.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from websockets.typing import Origin

from gateway_svc.core.handshake import Readiness
from gateway_svc.core.heartbeat import Wheel
from gateway_svc.core.hub import Hub
from gateway_svc.core.meter import Meter
from gateway_svc.core.session import Session, SessionContext
from gateway_svc.inbound import ParserPool
from gateway_svc.poll import Poll
from gateway_svc.secure import SecureConnection
from gateway_svc.websocket import Connection
from lanecast.errors import StartError

SEND_BUFFER_BYTES = 64 * 1024
"""The kernel's send buffer per connection: what lies there can no longer be overtaken."""

NOT_SENT_BYTES = 16 * 1024
"""How much of it may be unsent before the socket counts as full."""

_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_ORIGIN_MISSING = None


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Settings of the edge."""

    allowed_origins: tuple[str, ...]
    max_connections: int
    max_frame_bytes: int


class Edge:
    """All connections of one process."""

    def __init__(self, hub: Hub, context: SessionContext, wheel: Wheel, meter: Meter, settings: EdgeSettings) -> None:
        self.hub = hub
        self.context = context
        self.wheel = wheel
        self.meter = meter
        self.settings = settings
        self.origins = [_ORIGIN_MISSING, *(Origin(origin) for origin in settings.allowed_origins)]
        self.connections: set[Connection] = set()
        """Connections with a session."""
        self.active = dict.fromkeys((True, False), 0)
        """Number of them that speak protobuf, and JSON."""
        self.polls: set[Poll] = set()
        """Long polls under way."""
        self.draining = False
        self.upstream_ready: Callable[[], bool] = lambda: False
        self._deadlines: dict[Connection, float] = {}
        """Handshakes and closes under way, and until when they may last."""
        self.parsers = ParserPool(settings.max_frame_bytes)
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None
        self._listener: socket.socket | None = None
        self._empty = asyncio.Event()
        self._flushed = asyncio.Event()

    def __repr__(self) -> str:
        return f"Edge(connections={len(self.connections)}, draining={self.draining})"

    async def start(self, host: str, port: int, *, reuse_port: bool, tls: ssl.SSLContext | None = None) -> int:
        """Listen; return the port.

        Raises:
            StartError: the address cannot be bound.
        """
        listener = _listen(host, port, reuse_port)
        self._listener = listener.dup()
        loop = asyncio.get_running_loop()
        self._tls = tls
        self._server = await loop.create_server(self._connection, sock=listener, backlog=1024)
        return int(listener.getsockname()[1])

    async def stop_listening(self) -> None:
        """Take no new connections but those that the kernel has accepted for this process already. Idempotent.

        To close a listener resets what waits in it, even where another process listens on the same port. So that is
        taken first: once nothing is left, the moment until the close is that of a system call.
        """
        server, self._server = self._server, None
        listener, self._listener = self._listener, None
        if server is None or listener is None:
            return
        server.close()  # the duplicate keeps the socket listening
        loop, accepted = asyncio.get_running_loop(), _accept_all(listener)
        listener.close()
        for connection in accepted:
            await loop.connect_accepted_socket(self._connection, connection)

    def _connection(self) -> Connection:
        return Connection(self) if self._tls is None else SecureConnection(self, self._tls)

    async def wait_settled(self) -> None:
        """Return once no handshake and no close is under way."""
        while self._deadlines:
            self._flushed.clear()
            await self._flushed.wait()

    @property
    def readiness(self) -> Readiness:
        """What decides about new connections."""
        full = len(self.connections) + len(self._deadlines) > self.settings.max_connections
        return Readiness(self.draining, self.upstream_ready(), full)

    def watch(self, connection: Connection, seconds: float) -> None:
        """Cut a connection unless it gets on within so many seconds."""
        self._deadlines.pop(connection, None)
        self._deadlines[connection] = self.context.now() + seconds

    def unwatch(self, connection: Connection) -> None:
        """The connection got on."""
        self._deadlines.pop(connection, None)
        self._flushed.set()

    def sweep(self, now: float) -> None:
        """Cut what is overdue."""
        for connection in [each for each, deadline in self._deadlines.items() if deadline <= now]:
            connection.abort()

    def opened(self, connection: Connection, session: Session) -> None:
        """A handshake was completed."""
        self.connections.add(connection)
        self.active[session.binary] += 1
        self._empty.clear()
        self.wheel.opened(session, self.context.now())

    def lost(self, connection: Connection) -> None:
        """A connection has ended."""
        self._deadlines.pop(connection, None)
        if connection in self.connections:
            self.connections.discard(connection)
            if connection.session is not None:
                self.active[connection.session.binary] -= 1
        self._flushed.set()
        if not self.connections:
            self._empty.set()

    async def wait_empty(self) -> None:
        """Return once no connection has a session."""
        if self.connections:
            await self._empty.wait()

    def flushed(self) -> None:
        """An outbox has emptied."""
        self._flushed.set()

    async def wait_flushed(self) -> None:
        """Return once nothing waits for any client."""
        while self.context.totals.bytes:
            self._flushed.clear()
            await self._flushed.wait()

    def finish_polls(self) -> None:
        """Answer all long polls with what there is."""
        for poll in list(self.polls):
            poll.finish()

    def abort_all(self) -> None:
        """Cut everything that is left."""
        for connection in [*self.connections, *self._deadlines]:
            connection.abort()


def _accept_all(listener: socket.socket) -> list[socket.socket]:
    accepted: list[socket.socket] = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # nothing is left, or it has gone again
            return accepted
        connection.setblocking(False)
        accepted.append(connection)


def _listen(host: str, port: int, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Connections inherit these.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise StartError(
            f"cannot listen on {host}:{port} ({reason.lower()}): choose another port, or stop the process that has it"
        ) from error
    return listener
