"""Which event log a publisher uses.

Owns the way from the configuration to an open log. Called by `app`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from publisher_svc.config import PublisherConfig
from publisher_svc.log.base import EventLog, LogError
from publisher_svc.log.sqlite import SqliteEventLog, SqliteLogSettings

LOG_FOLDER = "log"
"""Folder of the embedded log within the data directory."""
STATE_FILE = "jetstream.json"
"""What a publisher remembers of a shared log, within the data directory."""


async def open_log(config: PublisherConfig, on_failure: Callable[[LogError], None]) -> EventLog:
    """Open the log that the configuration names.

    Args:
        config: Which log, and its settings.
        on_failure: Called where the log cannot go on: the process is to end, and to begin anew.

    Raises:
        ConfigError: an option is wrong.
        StartError: the log cannot be used.
    """
    if config.log == "sqlite":
        settings = SqliteLogSettings(
            durability=config.durability,
            retention_seconds=config.retention_hours * 3600,
            retention_bytes=config.retention_bytes,
        )
        return SqliteEventLog.open(config.data_dir / LOG_FOLDER, settings)
    from publisher_svc.log.jetstream.log import JetStreamEventLog
    from publisher_svc.log.jetstream.settings import JetStreamSettings, parse_servers

    shared = JetStreamSettings(
        servers=parse_servers(config.log),
        stream=config.log_stream,
        partitions=config.log_partitions,
        replicas=config.log_replicas,
        retention_seconds=config.retention_hours * 3600,
        retention_bytes=config.retention_bytes,
        accept_lazy_fsync=config.accept_lazy_fsync,
        checks=config.log_check,
        credentials=_path(config.log_credentials),
        tls_ca=_path(config.log_tls_ca),
        tls_certificate=_path(config.log_tls_certificate),
        tls_key=_path(config.log_tls_key),
        state=config.data_dir / STATE_FILE,
    )
    return await JetStreamEventLog.open(shared, on_failure)


def _path(text: str) -> Path | None:
    return Path(text) if text else None
