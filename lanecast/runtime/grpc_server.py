"""A gRPC server as every service wants it: parse errors are INVALID_ARGUMENT, errors have details, the port is ours.

Owns server options, health, reflection and the wrapper between raw bytes and servicer methods. Called by each service's
`app`; knows no service.

Requests are taken as bytes and parsed here, because grpc's own parsing answers garbage with UNKNOWN and a Python text.
A servicer method may return or yield either a message or bytes that are already serialised.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any, cast

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from lanecast.core.grpc_wire import MessageError
from lanecast.core.http2.limits import Limits
from lanecast.core.limits import MAX_MESSAGE_BYTES
from lanecast.errors import StartError, StatusError, UnavailableError
from lanecast.runtime import status, tls
from lanecast.runtime.channels import engine
from lanecast.runtime.wire.server import WireServer

log = logging.getLogger(__name__)

_SETTLED = (grpc.aio.AbortError, MessageError)
"""What has its status already, or gets it from the engine: a message that cannot be read is no failure of ours."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # else a second process silently shares the port
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.http2.bdp_probe", 0),  # else an unread stream buffers megabytes before a write waits
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Else 60 s, and a ping that measures the bandwidth keeps one of the keepalive from being sent.
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 4),
)


class GrpcServer:
    """A gRPC server with health and reflection.

    Use: `add()` services, `start()`, `serving()`, then `draining()` and `stop()`.
    """

    def __init__(self) -> None:
        self._wire = WireServer(Limits(max_message_bytes=MAX_MESSAGE_BYTES)) if engine() == "asyncio" else None
        self._server = cast("grpc.aio.Server", self._wire or grpc.aio.server(options=SERVER_OPTIONS))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names: list[str] = [health.SERVICE_NAME, reflection.SERVICE_NAME]

    def add(
        self, service: ServiceDescriptor, servicer: object, views: Mapping[str, type[Message]] = MappingProxyType({})
    ) -> None:
        """Serve every method of `service` by the method of the same name on `servicer`.

        `views` has the class that requests of a method are parsed as, where it is not that of the contract.
        """
        handlers = {
            method.name: _handler(method, getattr(servicer, method.name), views.get(method.name))
            for method in service.methods
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
        self._names.append(service.full_name)

    async def start(self, host: str, port: int) -> int:
        """Bind and start; return the port, which differs from `port` where that is 0.

        Raises:
            StartError: the port is in use or may not be bound.
            ConfigError: a file of the section `tls` cannot be used.
        """
        own = tls.settings()
        reflected = reflection.aio.ReflectionServicer(self._names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, self._server)  # type: ignore[no-untyped-call]
        try:
            if self._wire is not None:
                return await self._wire.listen(host, port, tls.grpc_server_context(own))
            credentials = tls.server_credentials(own)
            if credentials is None:
                bound = self._server.add_insecure_port(f"{host}:{port}")
            else:
                bound = self._server.add_secure_port(f"{host}:{port}", credentials)
        except (RuntimeError, OSError) as error:
            raise StartError(
                f"cannot listen on {host}:{port}: the port is in use or not permitted; choose another port or stop the"
                " process that has it"
            ) from error
        await self._server.start()
        return int(bound)

    async def serving(self) -> None:
        """Answer health checks with SERVING."""
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)

    async def draining(self) -> None:
        """Answer health checks with NOT_SERVING, so that clients go elsewhere."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, give open ones `grace_seconds`, then cut them."""
        await self._server.stop(grace_seconds)

    async def _set_health(self, value: int) -> None:
        for name in ("", *self._names):
            await self._health.set(name, value)


def _handler(
    method: MethodDescriptor, call: Callable[..., Any], view: type[Message] | None
) -> grpc.RpcMethodHandler[Any, Any]:
    request_class = view or GetMessageClass(method.input_type)
    if method.client_streaming and method.server_streaming:
        return grpc.stream_stream_rpc_method_handler(_stream_stream(call, request_class), None, _serialize)
    if method.client_streaming:
        raise TypeError(f"{method.full_name}: no contract of ours streams requests for one response")
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_unary_stream(call, request_class), None, _serialize)
    return grpc.unary_unary_rpc_method_handler(_unary_unary(call, request_class), None, _serialize)


def _serialize(response: Message | bytes) -> bytes:
    return response if type(response) is bytes else response.SerializeToString()  # type: ignore[union-attr]


def _parse(request_class: type[Message], data: bytes) -> Message:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        name = request_class.DESCRIPTOR.full_name.replace(".internal.", ".").removesuffix(
            "View"
        )  # as the sender knows it
        raise StatusError(status.INVALID_ARGUMENT, "MALFORMED", f"the request is not a valid {name}") from error


async def _fail(context: Any, error: Exception) -> None:
    """End the call with the status of `error`; what is not ours becomes INTERNAL, with its traceback in the log."""
    if isinstance(error, StatusError):
        await status.abort(context, error)
    if isinstance(error, UnavailableError):
        await status.abort(context, StatusError(status.UNAVAILABLE, "UNAVAILABLE", str(error), retry_delay_seconds=1.0))
    log.error("unexpected failure in a call", exc_info=error)
    message = "the service failed; its log has the details"
    await status.abort(context, StatusError(status.INTERNAL, "INTERNAL", message))


def _unary_unary(call: Callable[..., Any], request_class: type[Message]) -> Callable[..., Any]:
    async def handle(data: bytes, context: Any) -> Any:
        try:
            return await call(_parse(request_class, data), context)
        except _SETTLED:
            raise
        except Exception as error:  # noqa: BLE001 - the border: nothing else may reach the peer
            await _fail(context, error)

    return handle


def _unary_stream(call: Callable[..., Any], request_class: type[Message]) -> Callable[..., Any]:
    async def handle(data: bytes, context: Any) -> None:
        try:
            async with aclosing(call(_parse(request_class, data), context)) as responses:
                async for response in responses:  # closed at once where the peer goes away, not by the collector
                    await context.write(response)
        except _SETTLED:
            raise
        except Exception as error:  # noqa: BLE001 - the border
            await _fail(context, error)

    return handle


def _stream_stream(call: Callable[..., Any], request_class: type[Message]) -> Callable[..., Any]:
    async def requests(iterator: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for data in iterator:
            yield _parse(request_class, data)

    async def handle(iterator: AsyncIterator[bytes], context: Any) -> None:
        """The servicer method gets an iterator of requests and writes to the context itself, when it wants to."""
        try:
            await call(requests(iterator), context)
        except _SETTLED:
            raise
        except Exception as error:  # noqa: BLE001 - the border
            await _fail(context, error)

    return handle
