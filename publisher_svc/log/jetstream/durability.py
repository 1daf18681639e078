"""Whether the servers write to disk before they acknowledge.

Owns the question. By default a NATS server acknowledges first and syncs every two minutes: a power failure then loses
acknowledged events. A client cannot see the setting over its own connection (it is neither in INFO nor in any answer of
the JetStream API), so an operator names a place that tells: the monitoring port, or a user of the system account.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from urllib.parse import urlsplit

from lanecast.errors import ConfigError, StartError
from publisher_svc.log.jetstream.link import LinkError, connect
from publisher_svc.log.jetstream.settings import JetStreamSettings, hide_password

log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.5
_FLAG = "start with --accept-lazy-fsync to accept that a power failure may lose acknowledged events"
_UNKNOWN = (
    "nobody tells whether the NATS servers write to disk before they acknowledge: name a monitoring address "
    "(--log-check http://HOST:8222) or a user of the system account (--log-check nats://USER:PASSWORD@HOST:4222), or "
    + _FLAG
)


async def check_durability(settings: JetStreamSettings) -> None:
    """Refuse servers that acknowledge before they sync.

    Raises:
        StartError: one does, or it cannot be told; says what to do.
    """
    if settings.accept_lazy_fsync:
        log.warning("a power failure of the NATS servers may lose acknowledged events: --accept-lazy-fsync is set")
        return
    if not settings.checks:
        raise StartError(_UNKNOWN)
    for place in settings.checks:
        for name, config in await _ask(place, settings):
            if not config.get("sync_always"):
                raise StartError(
                    f"the NATS server {name} acknowledges before its disk has the event: set "
                    f"`jetstream {{ sync_interval: always }}` in its configuration, or {_FLAG}"
                )


async def _ask(place: str, settings: JetStreamSettings) -> list[tuple[str, dict[str, Any]]]:
    """Return name and JetStream configuration of the servers that answer at a place."""
    scheme = urlsplit(place).scheme
    if scheme in {"http", "https"}:
        answers = [await _monitor(place, settings.waits.request)]
    elif scheme in {"nats", "tls"}:
        answers = await _system_account(place, settings)
    else:
        raise ConfigError(f"log_check {hide_password(place)!r} is no address: use http://HOST:8222 or nats://…")
    return [(str(answer.get("name") or answer.get("server_id", place)), answer["config"]) for answer in answers]


async def _monitor(place: str, seconds: float) -> dict[str, Any]:
    import aiohttp

    url = f"{place.rstrip('/')}/jsz?config=true"
    try:
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            answer: dict[str, Any] = await response.json()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise StartError(f"cannot ask {place} ({error or 'no answer'}): correct --log-check, or {_FLAG}") from error
    if not isinstance(answer, dict) or "config" not in answer:
        raise StartError(f"{place} tells nothing of JetStream: name the monitoring port of a server that has it")
    return answer


async def _system_account(place: str, settings: JetStreamSettings) -> list[dict[str, Any]]:
    from nats import errors

    try:
        client, _ = await connect(place, settings, lambda reason: log.debug("system account: %s", reason))
    except LinkError as error:
        raise StartError(f"cannot check the servers: {error}") from error
    found: list[dict[str, Any]] = []

    async def take(message: Any) -> None:
        answer = json.loads(message.data or b"{}")
        if "config" in answer.get("data", {}):
            found.append({**answer["data"], "name": answer.get("server", {}).get("name", "")})

    try:
        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=take)
        await client.publish("$SYS.REQ.SERVER.PING.JSZ", b'{"config":true}', reply=inbox)
        await asyncio.sleep(_GATHER_SECONDS)  # how many servers there are is not known
    except errors.Error as error:
        raise StartError(f"cannot ask the servers at {hide_password(place)}: {error}") from error
    finally:
        await client.close()
    if not found:
        shown = hide_password(place)
        raise StartError(f"no server answers {shown}: its user must belong to the system account; or {_FLAG}")
    return found
