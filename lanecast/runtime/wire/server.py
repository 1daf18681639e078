"""A gRPC server on asyncio's sockets; serves the handlers that `grpc.aio.server` serves.

Owns listening sockets, connections, calls and their tasks. Used by `lanecast.runtime.grpc_server` only. Handlers are
`grpc.RpcMethodHandler`s with asynchronous behaviours, so grpcio's own servicers (health, reflection) run here as well.

What differs from `grpc.aio`: no thread beside the loop's, so a message costs a third, and requests and writes need no
turn of the loop where there is nothing to wait for. No interceptors and no compressed answers.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from inspect import isasyncgenfunction
from typing import Any

import grpc

from lanecast.core import grpc_wire
from lanecast.core.http2.connection import Connection
from lanecast.core.http2.events import (
    ConnectionFailed,
    Ended,
    Event,
    HeadersReceived,
    MessageReceived,
    MessageTooLarge,
    StreamReset,
    Writable,
)
from lanecast.core.http2.frames import ErrorCode
from lanecast.core.http2.limits import Limits
from lanecast.runtime.wire.gate import Gate
from lanecast.runtime.wire.inbox import Inbox
from lanecast.runtime.wire.listener import Listener, bind
from lanecast.runtime.wire.protocol import Patience, WireProtocol

log = logging.getLogger(__name__)

Handler = grpc.RpcMethodHandler
_CUT_SECONDS = 5.0
"""How long calls that were cut have for their own cleaning up."""
_SHOWN_PATH = 200
"""Characters of an unknown method that its caller is told: escaped, the path could be longer than headers may be."""


class _Details(grpc.HandlerCallDetails):
    """What a generic handler is asked by."""

    def __init__(self, method: str, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self.method = method
        self.invocation_metadata = metadata


class WireServer:
    """Use as `grpc.aio.server()`: add handlers, `listen`, then `stop`."""

    def __init__(self, limits: Limits | None = None, patience: Patience | None = None) -> None:
        self.limits = limits or Limits()
        self.patience = patience or Patience()
        self.stopping = False
        self.tasks: set[asyncio.Task[None]] = set()
        """Of all calls that are being served."""
        self._generic: list[grpc.GenericRpcHandler] = []
        self._registered: dict[str, Handler[Any, Any]] = {}
        self._listeners: list[Listener] = []
        self._connections: set[_ServerConnection] = set()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Serve the methods of these handlers."""
        self._generic += handlers

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler[Any, Any]]) -> None:
        """Serve the methods of a service; generated code asks for this."""
        for name, handler in handlers.items():
            self._registered[f"/{service}/{name}"] = handler

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Bind, accept connections, and return the port.

        Raises:
            OSError: the port is in use or may not be bound.
        """
        loop = asyncio.get_running_loop()
        sockets = await bind(host, port)
        for each in sockets:
            self._listeners.append(
                Listener(each, lambda: _ServerConnection(self, loop), context, self.patience.handshake_seconds)
            )
        return int(sockets[0].getsockname()[1])

    def find(self, path: str, metadata: tuple[tuple[str, str | bytes], ...]) -> Handler[Any, Any] | None:
        """Return who serves a method."""
        handler = self._registered.get(path)
        if handler is not None:
            return handler
        details = _Details(path, metadata)
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return handler
        return None

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, give open ones `grace_seconds`, then cut them. Idempotent."""
        loop = asyncio.get_running_loop()
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.go_away()
        if self.tasks and grace_seconds > 0:
            await asyncio.wait(self.tasks, timeout=grace_seconds)
        for connection in list(self._connections):
            connection.cancel_calls()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=_CUT_SECONDS)
        for listener in self._listeners:
            await listener.wait_closed()
        connections = list(self._connections)
        for connection in connections:
            connection.finish()
        if connections:
            _, late = await asyncio.wait([loop.create_task(each.wait_closed()) for each in connections], timeout=1.0)
            for task in late:
                task.cancel()
        for connection in list(self._connections):
            connection.abort("the server has stopped")

    def joined(self, connection: _ServerConnection) -> None:
        """Know of a connection."""
        self._connections.add(connection)

    def left(self, connection: _ServerConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)


class _ServerConnection(WireProtocol):
    """A client."""

    def __init__(self, server: WireServer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(Connection(client=False, limits=server.limits), loop, server.patience)
        self._server = server
        self._calls: dict[int, ServerCall] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        super().connection_made(transport)
        self._server.joined(self)
        if self._server.stopping:
            self.abort("the server is stopping")

    def on_event(self, event: Event) -> None:
        """See `WireProtocol`."""
        kind = type(event)
        if kind is MessageReceived:
            call = self._calls.get(event.stream_id)  # type: ignore[union-attr]
            if call is not None:
                call.inbox.put(event, self)  # type: ignore[arg-type]
        elif isinstance(event, HeadersReceived):
            self._begin(event)
        elif isinstance(event, (Ended, StreamReset, Writable, MessageTooLarge)):
            call = self._calls.get(event.stream_id)
            if call is not None:
                call.take(event)
        elif isinstance(event, ConnectionFailed):
            log.warning("a client at %s is cut off: %s", self.peer, event.text)
            self._cancel_calls()

    def on_lost(self) -> None:
        """See `WireProtocol`."""
        self._server.left(self)
        self._cancel_calls()

    def go_away(self) -> None:
        """Tell the client that no more calls are taken."""
        self.connection.go_away()
        self.send()

    def cancel_calls(self) -> None:
        """End every call."""
        for call in list(self._calls.values()):
            call.cut()

    def over(self, stream_id: int) -> None:
        """Forget a call."""
        self._calls.pop(stream_id, None)
        if self._server.stopping and not self._calls:
            self.finish()

    def _cancel_calls(self) -> None:
        for call in list(self._calls.values()):
            call.cancel()

    def _begin(self, event: HeadersReceived) -> None:
        stream_id = event.stream_id
        try:
            request = grpc_wire.read_call(event.headers)
        except grpc_wire.RequestError as error:
            self.connection.end(stream_id, grpc_wire.refusal_headers(error))
            return
        handler = self._server.find(request.path, request.metadata)
        if handler is None:
            message = f"there is no method {request.path[:_SHOWN_PATH]}"
            self.connection.end(stream_id, grpc_wire.trailers(grpc_wire.UNIMPLEMENTED, message, alone=True))
            return
        call = ServerCall(self, stream_id, request, self._server.limits.max_message_bytes)
        self._calls[stream_id] = call
        task = self.loop.create_task(call.serve(handler), name=f"call {request.path}")
        call.task = task
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)


class ServerCall:
    """One call; what its handler knows as `context`. Names are those of `grpc.aio.ServicerContext`."""

    def __init__(
        self, connection: _ServerConnection, stream_id: int, request: grpc_wire.Request, max_message_bytes: int
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        self.inbox = Inbox(max_message_bytes, request.encoding)
        self._connection = connection
        self._id = stream_id
        self._request = request
        self._deadline = None if request.timeout is None else connection.loop.time() + request.timeout
        self._serialize: Callable[[Any], bytes] | None = None
        self._begun = self._ended = False
        self._writable = Gate(connection.loop)
        self._code: int | None = None
        self._details = ""
        self._trailing: grpc_wire.Metadata = ()

    # For the handler

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return what the client sent with the call."""
        return self._request.metadata

    def peer(self) -> str:
        """Return the client's address, as gRPC writes it."""
        return self._connection.peer

    def time_remaining(self) -> float | None:
        """Return the seconds until the client's deadline; None where it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - self._connection.loop.time())

    def set_code(self, code: grpc.StatusCode) -> None:
        """Let the call end with another status than OK."""
        self._code = code.value[0]

    def set_details(self, details: str) -> None:
        """Let the call end with a message."""
        self._details = details

    def set_trailing_metadata(self, metadata: grpc_wire.Metadata) -> None:
        """Let the call end with metadata."""
        self._trailing = metadata

    async def send_initial_metadata(self, metadata: grpc_wire.Metadata) -> None:
        """Send metadata before any message."""
        self._start(metadata)
        self._connection.send()

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: grpc_wire.Metadata = ()) -> None:
        """End the call with a status; does not return."""
        self._end(code.value[0], details, trailing_metadata or self._trailing)
        raise grpc.aio.AbortError

    async def read(self) -> Any:
        """Return the next request, or `grpc.aio.EOF`."""
        data = await self.inbox.get()
        return grpc.aio.EOF if data is None else data

    async def write(self, message: Any) -> None:
        """Send a message; waits while the client, or the socket, takes no more.

        Raises:
            asyncio.InvalidStateError: the call has ended.
        """
        if self._ended:
            raise asyncio.InvalidStateError("the call has ended")
        data = message if self._serialize is None else self._serialize(message)
        connection = self._connection
        if not self._begun:
            self._start(())
        went = connection.connection.send_message(self._id, data)
        connection.send()
        if not went:
            await self._writable.wait()
        if connection.paused:
            await connection.room()

    # For the connection

    def take(self, event: Event) -> None:
        """Take what has come for this call beside messages."""
        if isinstance(event, Ended):
            self.inbox.end(truncated=event.truncated)
        elif isinstance(event, Writable):
            self._writable.open()
        elif isinstance(event, StreamReset):
            self.cancel()
        elif isinstance(event, MessageTooLarge):
            limit = self.inbox.max_message_bytes
            self._end(grpc_wire.RESOURCE_EXHAUSTED, f"a message has {event.size} bytes: send at most {limit}")
            self.cancel()

    def cancel(self) -> None:
        """End the handler: nobody waits for it any more."""
        self._ended = True
        self._connection.over(self._id)
        self._writable.open()
        if self.task is not None:
            self.task.cancel()

    def cut(self) -> None:
        """End the call as a server that goes away does."""
        self._end(grpc_wire.UNAVAILABLE, "the server is going away")
        self.cancel()

    async def serve(self, handler: Handler[Any, Any]) -> None:
        """Run the handler and send what becomes of it."""
        timer = None
        if self._request.timeout is not None:
            timer = self._connection.loop.call_later(self._request.timeout, self._expire)
        try:
            await self._run(handler)
            self._end(self._code or grpc_wire.OK, self._details, self._trailing)
        except grpc.aio.AbortError:
            pass  # its status has been sent
        except grpc_wire.MessageError as error:
            self._end(error.code, str(error))
        except Exception:
            log.exception("unexpected failure in %s", self._request.path)
            self._end(grpc_wire.INTERNAL, "the service failed; its log has the details")
        except asyncio.CancelledError:
            self._end(grpc_wire.UNAVAILABLE, "the service has given the call up")  # unless it had ended
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._connection.over(self._id)

    async def _run(self, handler: Handler[Any, Any]) -> None:
        self._serialize = handler.response_serializer
        request: Any
        if handler.request_streaming:
            request = self.inbox.iterate(handler.request_deserializer)
        else:
            data = await self.inbox.get()
            if data is None:
                self._end(grpc_wire.INTERNAL, "the call ended without a request")
                return
            request = data if handler.request_deserializer is None else handler.request_deserializer(data)
        behaviour: Any = (
            (handler.stream_stream if handler.request_streaming else handler.unary_stream)
            if handler.response_streaming
            else (handler.stream_unary if handler.request_streaming else handler.unary_unary)
        )
        if isasyncgenfunction(behaviour):
            async with aclosing(behaviour(request, self)) as responses:
                await self._write_all(responses)
            return
        response = await behaviour(request, self)
        if not handler.response_streaming and not self._code:
            await self.write(response)

    async def _write_all(self, responses: AsyncIterator[Any]) -> None:
        async for response in responses:
            await self.write(response)

    def _start(self, metadata: grpc_wire.Metadata) -> None:
        if not self._begun:
            self._begun = True
            self._connection.connection.send_headers(self._id, grpc_wire.answer_headers(metadata))

    def _end(self, code: int, message: str = "", metadata: grpc_wire.Metadata = ()) -> None:
        if self._ended:
            return
        trailers = grpc_wire.trailers(code, message, metadata, alone=not self._begun)
        self._ended = True
        self._connection.connection.end(self._id, trailers)
        self._connection.send()

    def _expire(self) -> None:
        if self._writable.is_waited_at:
            # A message is half sent, and the rest may never be asked for: no status can follow it.
            self._ended = True
            self._connection.connection.reset(self._id, ErrorCode.CANCEL)
            self._connection.send()
        else:
            self._end(grpc_wire.DEADLINE_EXCEEDED, "the deadline of the call has passed")
        self.cancel()
