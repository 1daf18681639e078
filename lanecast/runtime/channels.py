"""Channels to gRPC services, and which engine carries them.

Owns the options of grpcio's channels and the choice between it and our own (`wire`, docs/adr/0018). Called by everyone
who opens a stream of events; knows no service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import grpc

from lanecast.core.http2.limits import Limits
from lanecast.core.limits import MAX_MESSAGE_BYTES
from lanecast.errors import ConfigError
from lanecast.runtime import tls
from lanecast.runtime.config import load, option
from lanecast.runtime.wire.channel import WireChannel

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
    # Else channels of a process to one address share a connection: who leaves a dead one would be given it again for
    # as long as another holds it, and an attempt would inherit the back-off of the one before.
    ("grpc.use_local_subchannel_pool", 1),
)
"""Options of every channel that Lanecast opens; the keepalive agrees with `SERVER_OPTIONS`."""


@dataclass(frozen=True, slots=True)
class GrpcConfig:
    """What a process can be told about gRPC."""

    engine: str = option("asyncio", "What carries gRPC where events flow: `asyncio`, our own, or `grpcio`.")

    def __post_init__(self) -> None:
        if self.engine not in ("asyncio", "grpcio"):
            raise ConfigError(f"grpc.engine is {self.engine!r}: use asyncio or grpcio")


def engine() -> str:
    """Return what carries gRPC in this process; see docs/adr/0018.

    Raises:
        ConfigError: it is set to something else.
    """
    return load(GrpcConfig, "grpc").engine


def open_channel(target: str, own: tls.TlsConfig | None = None) -> grpc.aio.Channel:
    """Return a channel for streams of events; nothing is sent before its first call.

    Raises:
        ConfigError: a file of the section `tls` cannot be used.
    """
    if engine() == "grpcio":
        return tls.open_channel(target, CHANNEL_OPTIONS, own)
    channel = WireChannel(target, tls.grpc_client_context(own), Limits(max_message_bytes=MAX_MESSAGE_BYTES))
    return cast("grpc.aio.Channel", channel)  # it does what is asked of one
