"""The stream itself: made or checked at start, looked at now and then.

Owns the stream's configuration and metadata. Called by `log` and `reader`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import uuid_utils

from lanecast.core.limits import DEDUP_WINDOW_SECONDS
from lanecast.core.position import EpochStart, Lineage
from lanecast.errors import StartError
from publisher_svc.log.base import LogError
from publisher_svc.log.jetstream.core.lineage import begun_anew, metadata_of, parse_metadata
from publisher_svc.log.jetstream.core.replies import unix_nano
from publisher_svc.log.jetstream.link import ApiError, Link
from publisher_svc.log.jetstream.settings import JetStreamSettings

log = logging.getLogger(__name__)

_NANOS = 1_000_000_000
_NOT_FOUND = 10059
_EXISTS = 10058
_NO_ROOM = {10005, 10023, 10028, 10047, 10074}
_NOT_ENABLED = {10039, 10076}
_MESSAGE_BYTES = 1024 * 1024
"""Largest message that the stream takes; Lanecast's have 128 KiB, or one large event."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """The stream as it is now."""

    partitions: int
    lineage: Lineage
    first_sequence: int
    last_sequence: int
    last_time_ns: int
    config: dict[str, Any]


async def look(link: Link, settings: JetStreamSettings) -> StreamFacts:
    """Return how the stream is.

    Raises:
        ApiError: there is none, or it cannot be looked at now.
        LinkError: no answer.
        LogError: it is not a log of ours.
    """
    answer = await link.api(f"STREAM.INFO.{settings.stream}")
    config, state = answer["config"], answer["state"]
    try:
        partitions, lineage = parse_metadata(config.get("metadata") or {})
    except ValueError as error:
        raise LogError(f"the stream {settings.stream} cannot be used: {error}") from error
    return StreamFacts(
        partitions, lineage, state["first_seq"], state["last_seq"], unix_nano(state.get("last_ts", "0001-")), config
    )


async def open_stream(link: Link, settings: JetStreamSettings) -> StreamFacts:
    """Return the stream, made where there is none.

    Raises:
        StartError: it cannot be made or used; says what to do.
        LinkError: no answer now.
    """
    try:
        facts = await _find_or_make(link, settings)
    except ApiError as error:
        raise _not_usable(settings, error) from error
    except LogError as error:
        if type(error) is LogError:
            raise StartError(str(error)) from error
        raise
    _check(facts, settings)
    return facts


async def begin_epoch(link: Link, settings: JetStreamSettings, facts: StreamFacts) -> StreamFacts:
    """Note in the stream's metadata that it has gone back, and return it as it is then."""
    lineage = begun_anew(facts.lineage, _new_epoch(), facts.last_sequence)
    config = {**facts.config, "metadata": {**facts.config["metadata"], **metadata_of(facts.partitions, lineage)}}
    await link.api(f"STREAM.UPDATE.{settings.stream}", config)
    return await look(link, settings)


async def _find_or_make(link: Link, settings: JetStreamSettings) -> StreamFacts:
    try:
        return await look(link, settings)
    except ApiError as error:
        if error.code != _NOT_FOUND:
            raise
    try:
        await link.api(f"STREAM.CREATE.{settings.stream}", _config(settings))
    except ApiError as error:
        if error.code != _EXISTS:  # another publisher was faster
            raise
    return await look(link, settings)


def _config(settings: JetStreamSettings) -> dict[str, Any]:
    lineage = Lineage([EpochStart(_new_epoch(), 1)])
    return {
        "name": settings.stream,
        "description": "Event log of Lanecast",
        "subjects": [f"{settings.prefix}.*.*"],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "num_replicas": settings.replicas,
        "max_age": int(settings.retention_seconds * _NANOS),
        "max_bytes": settings.retention_bytes,
        "max_msg_size": _MESSAGE_BYTES,
        "duplicate_window": DEDUP_WINDOW_SECONDS * _NANOS,
        "allow_direct": True,
        "deny_delete": True,
        "metadata": metadata_of(settings.partitions, lineage),
    }


def _check(facts: StreamFacts, settings: JetStreamSettings) -> None:
    """Refuse a stream on which the promises do not hold.

    Raises:
        StartError: says which setting to change.
    """
    config, name = facts.config, settings.stream
    age = config.get("max_age", 0) / _NANOS
    window = config.get("duplicate_window", 0) / _NANOS
    problem = ""
    if 0 < age < 2 * DEDUP_WINDOW_SECONDS:
        problem = f"max_age is {age:g} s: set at least {2 * DEDUP_WINDOW_SECONDS} s, twice the deduplication window"
    elif window < DEDUP_WINDOW_SECONDS:
        problem = f"duplicate_window is {window:g} s: set at least {DEDUP_WINDOW_SECONDS} s"
    elif config.get("storage") != "file":
        problem = "it is kept in memory: make it anew with storage file"
    elif config.get("persist_mode") == "async":
        problem = "persist_mode is async: a server acknowledges before it has written; make the stream anew without it"
    elif not config.get("allow_direct"):
        problem = "allow_direct is off: switch it on"
    elif f"{settings.prefix}.*.*" not in (config.get("subjects") or ()):
        problem = f"it does not take {settings.prefix}.*.*: set its subjects to that"
    if problem:
        raise StartError(f"the stream {name} cannot be the event log: {problem}")
    if facts.partitions != settings.partitions:
        log.info("the stream %s has %d partitions; that number counts", name, facts.partitions)


def _not_usable(settings: JetStreamSettings, error: ApiError) -> StartError:
    if error.code in _NOT_ENABLED:
        return StartError("the NATS server has no JetStream for this account: start it with jetstream {} enabled")
    if error.code in _NO_ROOM:
        wanted = f"{settings.replicas} x {settings.retention_bytes} bytes"
        return StartError(
            f"the NATS servers have no room for the stream {settings.stream} ({wanted}): lower retention_bytes or "
            f"log_replicas, or raise max_file_store of the servers ({error})"
        )
    return StartError(f"the stream {settings.stream} cannot be made or used: {error}")


def _new_epoch() -> str:
    return str(uuid_utils.uuid7())
