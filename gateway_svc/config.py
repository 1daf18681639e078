"""Options of the gateway.

Owns their names, defaults and help. Read by `__main__`; see `lanecast.runtime.config` for where values come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lanecast.errors import ConfigError
from lanecast.runtime.config import option
from lanecast.runtime.vitals import MIN_HEALTH_SECONDS
from lanecast.transport import Targets

SECTION = "gateway"


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Options of one gateway process."""

    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(7401, "Port for WebSockets and HTTP; 0 takes any free one.")
    publisher_targets: tuple[str, ...] = option(("127.0.0.1:7400",), "Publishers as host:port, in order of preference.")
    publisher_health_seconds: float = option(5.0, "Time between two questions whether the publisher lives, in seconds.")
    publisher_return_seconds: float = option(30.0, "Time between two looks for a publisher that is preferred.")
    data_dir: Path = option(Path(".lanecast"), "Directory of the development key.", shared=True)
    metrics_target: str = option("", "host:port that takes OTLP metrics; empty sends none.", shared=True)
    allowed_origins: tuple[str, ...] = option(
        (), "Origins of pages that may connect, for example http://localhost:7480."
    )
    reuse_port: bool = option(False, "Share the port with other gateway processes.")
    instance: str = option("gateway-1", "Name of this process for operators.")
    heartbeat_seconds: float = option(15.0, "Time between two pings of a session, in seconds.")
    drain_seconds: float = option(5.0, "Time over which sessions are told to reconnect at shutdown, in seconds.")
    max_connections: int = option(20_000, "Most connections of this process.")
    max_frame_bytes: int = option(64 * 1024, "Largest message a client may send, in bytes.")
    max_subscriptions: int = option(256, "Most subscriptions of one session.")
    max_commands_per_second: int = option(50, "Commands a session may send per second on average.")

    def __post_init__(self) -> None:
        if not self.publisher_targets:
            raise ConfigError("publisher_targets is empty: name at least one publisher as host:port")
        Targets(self.publisher_targets)  # says what is wrong with them
        for name in ("publisher_health_seconds", "publisher_return_seconds"):
            if getattr(self, name) < MIN_HEALTH_SECONDS:
                raise ConfigError(f"{name} must be at least {MIN_HEALTH_SECONDS:g}")
        if self.heartbeat_seconds < 0.25:
            raise ConfigError("heartbeat_seconds must be at least 0.25")
        if self.drain_seconds < 0:
            raise ConfigError("drain_seconds must not be negative")
        for name in ("max_connections", "max_frame_bytes", "max_subscriptions", "max_commands_per_second"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1")
