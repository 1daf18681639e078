"""A synthetic subscriber: one WebSocket to a gateway, as a browser has one.

Owns the socket and the protocol's commands: hello, subscribe, pong. The time of receipt is taken when the socket's
bytes come, before anything is parsed. Used by `perf_process`, one for each channel of a test.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from lanecast.errors import UnavailableError
from lanecast.runtime import tls
from lanecast.v1.event_pb2 import EventBatch
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Ping, Pong, ServerFrame, Subscribe

_SUBPROTOCOL = Subprotocol("lanecast.v1.proto")
OPEN_SECONDS = 10.0


class PerfSocket(asyncio.Protocol):
    """One subscriber; `ready` is done once it is subscribed, and fails where that cannot be."""

    def __init__(self, url: str, token: str, channel: str, on_batch: Callable[[EventBatch, int], None]) -> None:
        self._protocol = ClientProtocol(parse_uri(url), subprotocols=[_SUBPROTOCOL])
        self._url = url
        self._token = token
        self._channel = channel
        self._on_batch = on_batch
        self._transport: asyncio.Transport | None = None
        self._closed = False
        self._parts: list[bytes] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = ""
        """Why the connection ended, where it did."""

    async def open(self) -> None:
        """Connect and subscribe.

        Raises:
            UnavailableError: the gateway cannot be reached, or refuses.
        """
        uri = self._protocol.uri
        context = (tls.client_context(tls.settings()) or ssl.create_default_context()) if uri.secure else None
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: self, uri.host, uri.port, ssl=context)
                await self.ready
        except TimeoutError:
            raise UnavailableError(f"the gateway at {self._url} did not answer within {OPEN_SECONDS:g} s") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnavailableError(
                f"no gateway answers at {self._url} ({reason}): set LANECAST_METRICS_PERF_GATEWAY_URLS to where"
                " metrics_svc reaches one"
            ) from error

    def close(self) -> None:
        """Cut the connection. Idempotent."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()
        if not self.ready.done():
            self.ready.cancel()

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are none of asyncio's classes
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take what the gateway sends."""
        now_ns = time.time_ns()
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._on_frame(event, now_ns)
            elif self._protocol.handshake_exc is None:
                self._send(ClientFrame(hello=Hello(token=self._token, client="lanecast perf-test")))
        if self._protocol.handshake_exc is not None:
            self._fail(_sentence(self._protocol.handshake_exc))
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._transport = None
        self._fail(str(exc) if exc else "the gateway closed the connection")

    def _on_frame(self, frame: Frame, now_ns: int) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._fail("the gateway closed the connection")
            return
        if frame.opcode not in {Opcode.BINARY, Opcode.CONT}:
            return
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        message, self._parts = ServerFrame.FromString(b"".join(self._parts)), []
        kind = message.WhichOneof("frame")
        if kind == "events":
            self._on_batch(message.events, now_ns)
        elif kind == "ping":
            self._pong(message.ping, now_ns)
        elif kind == "welcome":
            self._send(ClientFrame(subscribe=Subscribe(channel=self._channel)))
        elif kind == "subscribed":
            if not self.ready.done():
                self.ready.set_result(None)
        elif kind == "error":
            self._fail(f"{message.error.reason}: {message.error.message}")

    def _pong(self, ping: Ping, now_ns: int) -> None:
        pong = Pong(
            sequence=ping.sequence, client_receive_time_unix_nano=now_ns, client_send_time_unix_nano=time.time_ns()
        )
        self._send(ClientFrame(pong=pong))

    def _send(self, frame: ClientFrame) -> None:
        self._protocol.send_binary(frame.SerializeToString())
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if self._transport is not None and data:
                self._transport.write(data)

    def _fail(self, reason: str) -> None:
        if not self._closed:
            self.lost = self.lost or reason
        if not self.ready.done():
            text = f"the gateway at {self._url} did not let a synthetic subscriber in: {reason}"
            self.ready.set_exception(UnavailableError(text))


def _sentence(error: Exception) -> str:
    cause = error.__cause__ if isinstance(error.__cause__, WebSocketException) else error
    return str(cause) or type(error).__name__
