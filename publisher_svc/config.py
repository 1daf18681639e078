"""Configuration of publisher_svc: the section `publisher`.

Owns the options, their defaults and their help. Read by `__main__`; see `lanecast.runtime.config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lanecast.runtime.config import option


@dataclass(frozen=True, slots=True)
class PublisherConfig:
    """What publisher_svc can be told."""

    host: str = option("127.0.0.1", "Address to listen on.")
    port: int = option(7400, "gRPC port; 0 takes a free one.")
    data_dir: Path = option(lambda: Path(".lanecast"), "Directory of the event log.", shared=True)
    metrics_target: str = option("", "Where metrics_svc receives OTLP, host:port; empty for nowhere.", shared=True)
    instance: str = option("publisher-1", "Name of this process in metrics.")
    policy: str = option("default", "Delivery policy: default, or legacy-500ms for the windows of the replaced system.")
    log: str = option("sqlite", "Event log: sqlite (in the data directory) or nats://HOST:PORT[,nats://…] (JetStream).")
    log_stream: str = option("LANECAST", "Name of the JetStream stream.")
    log_partitions: int = option(16, "Partitions of a stream that is made; later the stream's own number counts.")
    log_replicas: int = option(1, "Replicas of a stream that is made: 1 or 3.")
    log_check: tuple[str, ...] = option(
        (), "Where to see that the NATS servers sync before they acknowledge: http://HOST:8222, or a system account."
    )
    accept_lazy_fsync: bool = option(False, "Take NATS servers that acknowledge before their disk has the event.")
    log_credentials: str = option("", "Credentials file for NATS.")
    log_tls_ca: str = option("", "Certificates of the authorities trusted for NATS servers; empty: the system's.")
    log_tls_certificate: str = option("", "Certificate shown to NATS servers.")
    log_tls_key: str = option("", "Key of log_tls_certificate.")
    durability: str = option("process", "What an acknowledged event survives: process (SIGKILL) or disk (power loss).")
    retention_hours: float = option(24.0, "Age in hours after which events are deleted.")
    retention_bytes: int = option(4 * 1024**3, "Size of the log in bytes above which the oldest events are deleted.")
    tail_bytes: int = option(16 * 1024**2, "Bytes of the newest events that are kept in memory for readers.")
    type_files: tuple[str, ...] = option((), "FileDescriptorSet files with further payload types, comma-separated.")
    publish_auth: str = option("open", "Who may publish: open (anyone who reaches the port) or token (holders of one).")
    publish_rate: float = option(0.0, "Events/s of each publisher whose token names no rate; 0 for unlimited.")
    publish_burst: int = option(0, "Events that may come at once at publish_rate; 0 for those of a second.")
    anonymous_highest_lane: str = option("CRITICAL", "Most urgent lane for publishers without a token.")
    drain_seconds: float = option(5.0, "How long subscribers are given to go elsewhere at shutdown.")
