"""Settings of the JetStream log.

Owns the options with their defaults and the reading of the address list. Made by `app` from the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lanecast.core.limits import DEDUP_WINDOW_SECONDS
from lanecast.errors import ConfigError
from publisher_svc.log.jetstream.core.layout import DEFAULT_PARTITIONS, MAX_PARTITIONS
from publisher_svc.log.jetstream.core.queue import AppendLimits

SCHEMES = ("nats", "tls")


@dataclass(frozen=True, slots=True)
class Waits:
    """How long to wait for the servers, in seconds. Nothing waits for ever."""

    connect: float = 3.0
    """For one server to accept a connection."""
    attempt: float = 1.0
    """For the answer to one attempt to append."""
    request: float = 2.0
    """For any other answer."""
    silence: float = 2.5
    """For the next heartbeat of the stream, which comes each second, before reading begins anew."""
    read: float = 10.0
    """For a page or a position, retries included."""
    start: float = 30.0
    """For everything at start: longer than a cluster takes to elect its leaders."""
    refresh: float = 10.0
    """Between two looks at what retention has removed."""


@dataclass(frozen=True, slots=True)
class JetStreamSettings:
    """What the JetStream log can be told."""

    servers: tuple[str, ...]
    """Addresses, `nats://` or `tls://`; they may hold user and password."""
    stream: str = "LANECAST"
    """Name of the stream; its subjects begin with `<name>.` in lower case."""
    partitions: int = DEFAULT_PARTITIONS
    """Used when the stream is made. Later the stream's own number counts."""
    replicas: int = 1
    """Used when the stream is made: 1 or 3 (5 is possible)."""
    retention_seconds: float = 24 * 3600
    retention_bytes: int = 4 * 1024**3
    accept_lazy_fsync: bool = False
    """True: take servers that acknowledge before their disk has the event."""
    checks: tuple[str, ...] = ()
    """Where to see whether the servers do: monitoring addresses (http) or a system account (nats)."""
    credentials: Path | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    state: Path | None = None
    """File that remembers how far the stream had got, to notice a restored one; None: none."""
    append: AppendLimits = field(default_factory=AppendLimits)
    waits: Waits = field(default_factory=Waits)

    def __post_init__(self) -> None:
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise ConfigError(f"log_partitions is {self.partitions}: use 1 to {MAX_PARTITIONS}")
        if self.replicas not in {1, 3, 5}:
            raise ConfigError(f"log_replicas is {self.replicas}: use 1, 3 or 5")
        if self.retention_seconds < 2 * DEDUP_WINDOW_SECONDS:
            least = 2 * DEDUP_WINDOW_SECONDS
            raise ConfigError(f"retention must be at least {least} s, twice the deduplication window")

    @property
    def prefix(self) -> str:
        """The beginning of all subjects."""
        return f"{self.stream.lower()}.log"


def parse_servers(text: str) -> tuple[str, ...]:
    """Return the addresses in `nats://…[,nats://…]`.

    Raises:
        ConfigError: one of them is none.
    """
    servers = tuple(part.strip() for part in text.split(",") if part.strip())
    for server in servers:
        try:
            parts = urlsplit(server)
            good = parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good:
            raise ConfigError(f"{hide_password(server)!r} is no event log: use sqlite, or nats://HOST:PORT[,nats://…]")
    if not servers:
        raise ConfigError("no event log is named: use sqlite, or nats://HOST:PORT[,nats://…]")
    return servers


def hide_password(server: str) -> str:
    """Return an address as it may be shown."""
    before, at, after = server.rpartition("@")
    if not at:
        return server
    scheme, mark, login = before.rpartition("//")
    return f"{scheme}{mark}{login.partition(':')[0]}:***@{after}" if ":" in login else server
