"""The WebSocket edge: sockets, handshakes, frames in and bytes out.

Owns one asyncio protocol per connection. The `websockets` library's sans-I/O layer does the handshake and parses what
clients send (see `inbound`); an idle connection keeps neither of its objects.
Frames to clients are ready-made bytes. While nothing waits they are written straight to the socket, which costs less
than the transport and tells exactly when the kernel had the last byte; what the kernel does not take goes through the
transport, which says when it may go on. Decides nothing: requests are judged by `core.handshake`, messages by the
session.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Protocol, cast

import uuid_utils
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Origin

from gateway_svc.core import frames
from gateway_svc.core.handshake import (
    BINARY_SUBPROTOCOL,
    Answer,
    Readiness,
    answer,
    busy,
    check_head,
    is_preflight,
)
from gateway_svc.core.heartbeat import Wheel
from gateway_svc.core.hub import Hub
from gateway_svc.core.meter import Meter
from gateway_svc.core.poll import is_poll, preflight
from gateway_svc.core.poll import parse as poll_request
from gateway_svc.core.session import Session, SessionContext
from gateway_svc.inbound import Parser, ParserPool, server_protocol
from gateway_svc.poll import Poll
from lanecast.core import codes

HANDSHAKE_SECONDS = 5.0
CLOSE_SECONDS = 2.0
"""How long a client may take to answer a close frame."""

_BAD_UTF8 = 1007


class ConnectionHost(Protocol):
    """What a connection needs of the edge it belongs to."""

    hub: Hub
    context: SessionContext
    meter: Meter
    wheel: Wheel
    parsers: ParserPool
    origins: list[Origin | None]
    polls: set[Poll]

    @property
    def readiness(self) -> Readiness:
        """What decides about new connections."""

    def watch(self, connection: Connection, seconds: float) -> None:
        """Cut a connection unless it gets on within so many seconds."""

    def unwatch(self, connection: Connection) -> None:
        """The connection got on."""

    def opened(self, connection: Connection, session: Session) -> None:
        """A handshake was completed."""

    def lost(self, connection: Connection) -> None:
        """A connection has ended."""

    def flushed(self) -> None:
        """An outbox has emptied, or nearly."""


class Connection(asyncio.Protocol):
    """One TCP connection: an HTTP request, and perhaps a WebSocket after it."""

    __slots__ = (
        "__weakref__", "_closing", "_edge", "_fd", "_handshake", "_head", "_parser", "_paused", "_poll", "_transport",
        "session",
    )  # fmt: skip

    def __init__(self, edge: ConnectionHost) -> None:
        self._edge = edge
        self._fd = -1
        self._head: bytearray | None = bytearray()
        self._handshake: ServerProtocol | None = None
        self._parser: Parser | None = None
        self._paused = False
        self._closing = False
        self._poll: Poll | None = None
        self.session: Session | None = None

    def __repr__(self) -> str:
        return f"Connection(fd={self._fd}, session={self.session!r})"

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        self._fd = transport.get_extra_info("socket").fileno()
        self._edge.watch(self, HANDSHAKE_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Let go of everything."""
        self._fd = -1
        self._parser = self._handshake = self._head = None
        if self._poll is not None:
            self._edge.polls.discard(self._poll)
            self._poll.abandon()
        self._leave()
        self._edge.lost(self)

    def pause_writing(self) -> None:
        """The kernel's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The kernel has taken everything: let the outbox go on."""
        self._paused = False
        session = self.session
        if session is None or session.closed:
            return
        entries = session.outbox.resume()
        if entries:
            self._edge.meter.flushed(entries, time.time_ns())
        if session.outbox.clear:
            session.resumed()
        self._edge.flushed()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.session is not None:
            self._on_frames(data)
        elif not self._closing and self._poll is None:
            self._on_request(data)

    # The core's sink

    def write(self, data: bytes) -> bool:
        """See `Sink.write`."""
        try:
            taken = os.write(self._fd, data)
        except BlockingIOError:
            taken = 0
        except OSError:
            # Reset by the peer, or already gone: `connection_lost` follows.
            self.abort()
            return True
        if taken == len(data):
            return True
        self._transport.write(data[taken:])
        return not self._paused

    def close(self, number: int, reason: str) -> None:
        """See `Sink.close`. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._append(frames.close(number, reason))
        self._edge.watch(self, CLOSE_SECONDS)

    def abort(self) -> None:
        """Cut the connection. Idempotent."""
        self._closing = True
        self._fd = -1
        self._transport.abort()

    # HTTP

    def _on_request(self, data: bytes) -> None:
        head = self._head
        assert head is not None
        head += data
        refusal = check_head(bytes(head))
        if refusal is not None:
            self._reply(refusal)
            return
        if is_preflight(bytes(head)):
            if b"\r\n\r\n" in head:
                self._reply(preflight(bytes(head), self._origins()))
            return
        protocol = self._handshake
        if protocol is None:
            protocol = self._handshake = server_protocol(self._edge.origins)
        end = head.find(b"\r\n\r\n")
        rest = b"" if end < 0 else bytes(head[end + 4 :])
        protocol.receive_data(data[: len(data) - len(rest)])
        requests = protocol.events_received()
        if requests:
            assert isinstance(requests[0], Request)
            self._answer(protocol, requests[0], rest)
        elif protocol.eof_sent:
            # No HTTP request: there is nobody to explain it to.
            self._finish(b"".join(protocol.data_to_send()))

    def _answer(self, protocol: ServerProtocol, request: Request, rest: bytes) -> None:
        if is_poll(request.path):
            self._on_poll(request)
            return
        refusal = answer(request.path, self._edge.readiness)
        if refusal is not None:
            self._reply(refusal)
            return
        response = protocol.accept(request)
        protocol.send_response(response)
        data = b"".join(protocol.data_to_send())
        if response.status_code != 101:
            self._finish(data)
            return
        self._head = self._handshake = None
        self._edge.unwatch(self)
        edge, binary = self._edge, protocol.subprotocol == BINARY_SUBPROTOCOL
        session = Session(uuid_utils.uuid7().hex, self, edge.hub, edge.context, binary=binary)
        if not self.write(data):
            self.abort()
            return
        self.session = session
        edge.opened(self, session)
        if rest:
            self._on_frames(rest)

    def _on_poll(self, request: Request) -> None:
        edge = self._edge
        asked = busy(edge.readiness) or poll_request(request.path, request.headers, self._origins())
        if isinstance(asked, Answer):
            self._reply(asked)
            return
        edge.watch(self, asked.wait_seconds + HANDSHAKE_SECONDS)
        poll = self._poll = Poll(asked, edge.hub, edge.context, edge.wheel, self._reply)
        edge.polls.add(poll)
        poll.start()

    def _origins(self) -> list[str]:
        return [origin for origin in self._edge.origins if origin is not None]

    def _reply(self, reply: Answer) -> None:
        self._finish(reply.serialize())

    def _finish(self, data: bytes) -> None:
        """Answer and close."""
        self._closing = True
        self._head = self._handshake = None
        if data:
            self._push(data)
        self._end()

    def _push(self, data: bytes) -> None:
        """Write after whatever the transport still holds."""
        self._transport.write(data)

    def _end(self) -> None:
        """Close once the transport holds nothing any more."""
        self._transport.close()

    # WebSocket

    def _on_frames(self, data: bytes) -> None:
        parser = self._parser or self._edge.parsers.take()
        self._parser = None
        parser.receive_data(data)
        for frame in parser.events_received():
            assert isinstance(frame, Frame)
            if not self._closing:
                self._on_frame(parser, frame)
        self._send_replies(parser)
        if parser.ended:
            self._leave()
            self._closing = True
            self._end()
        elif parser.idle:
            self._edge.parsers.give(parser)
        else:
            self._parser = parser

    def _send_replies(self, parser: Parser) -> None:
        """Send the library's own answers: pongs, and the close frame where the client closed or broke the protocol."""
        for reply in parser.data_to_send():
            session = self.session
            if not reply or self._closing or session is None:
                continue
            if parser.ended:
                self._append(reply)
            elif not session.outbox.control(reply):
                session.end(codes.SLOW_CONSUMER)

    def _on_frame(self, parser: Parser, frame: Frame) -> None:
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY}:
            parser.text = frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return
        session = self.session
        assert session is not None
        if parser.text is session.binary:
            wanted = "binary frames, or negotiate lanecast.v1.json" if session.binary else "text frames"
            session.end(codes.UNSUPPORTED_DATA, f"Send {wanted}.")
            return
        parser.parts.append(bytes(frame.data))
        if not frame.fin:
            return
        message, parser.parts = b"".join(parser.parts), []
        if parser.text and not _is_utf8(message):
            session.leave()
            self.close(_BAD_UTF8, "text frames must be UTF-8")
            return
        session.receive(message)

    def _append(self, data: bytes) -> None:
        """Write what cannot wait for the outbox."""
        if self._fd < 0:
            return
        if self._paused:
            self._push(data)
        else:
            self.write(data)

    def _leave(self) -> None:
        if self.session is not None:
            self._edge.wheel.closed(self.session)
            self.session.leave()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
