"""The connection to NATS, kept up.

Owns one client at a time, and a new one after each loss. nats-py's own reconnecting is off: it would send what an old
connection had buffered behind what has been decided since. Whoever uses the link gets a client or `LinkError`, and may
wait for the next one. Requests have deadlines of their own here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lanecast.errors import StartError
from publisher_svc.log.base import LogError
from publisher_svc.log.jetstream.settings import JetStreamSettings, hide_password

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

_BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
_PING_SECONDS = 5
_SILENT_REQUESTS = 3
"""Requests in a row without an answer after which another server is tried. A server may well be connected and answer
pings, and yet reach no leader: so it was seen where it had been started again just before the leader was killed."""
_NO_RESPONDERS = "503"
_MISSING = "the event log on NATS needs the package nats-py: pip install 'lanecast[jetstream]'"


class LinkError(LogError):
    """There is no connection, or no answer in time. Whether a request was carried out is not known."""


class ApiError(LogError):
    """The JetStream API refused a request."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (code {code})")
        self.code = code
        """JetStream's own error code."""


class Link:
    """See the module's first lines."""

    def __init__(self, settings: JetStreamSettings) -> None:
        self._settings = settings
        self._waits = settings.waits
        self._client: Client | None = None
        self._up = asyncio.Event()
        self._lost = asyncio.Event()
        self._turn = 0
        self._task: asyncio.Task[None] | None = None
        self._reason = ""
        self._inbox = ""
        self._numbers = itertools.count()
        self._silent = 0
        """Requests in a row that got no answer over the present connection."""
        self._asked: dict[str, asyncio.Future[Msg]] = {}
        """Requests without an answer yet."""

    async def open(self) -> None:
        """Connect for the first time, and keep connected from then on.

        Raises:
            StartError: no server can be reached, or none lets us in; says what to do.
        """
        problems: list[str] = []
        for _ in self._settings.servers:
            try:
                await self._connect()
                break
            except LinkError as error:
                problems.append(str(error))
        else:
            raise StartError(f"cannot use the event log: {'; '.join(dict.fromkeys(problems))}")
        self._task = asyncio.create_task(self._keep(), name="nats-link")

    @property
    def client(self) -> Client:
        """The present client.

        Raises:
            LinkError: there is none.
        """
        if self._client is None:
            raise LinkError(f"NATS is not connected: {self._reason or 'closed'}")
        return self._client

    async def connected(self, seconds: float | None = None) -> Client:
        """Return a client, waiting for one.

        Raises:
            LinkError: none in time.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._up.wait()
        except TimeoutError as error:
            raise LinkError(f"NATS is not connected: {self._reason}") from error
        return self.client

    async def request(self, subject: str, data: bytes, seconds: float, headers: Mapping[str, str] | None = None) -> Msg:
        """Send a request over the present connection and return the answer.

        Raises:
            LinkError: no connection, it was lost, nobody serves the subject now, or no answer in time.
        """
        from nats import errors

        client, loop = self.client, asyncio.get_running_loop()
        number = str(next(self._numbers))
        answer = self._asked[number] = loop.create_future()
        timer = loop.call_later(seconds, self._give_up, client, answer, seconds)
        try:
            await client.publish(subject, data, reply=f"{self._inbox}.{number}", headers=dict(headers or {}))
            message: Msg = await answer
        except (errors.Error, OSError) as error:
            raise LinkError(f"NATS: {_words(error)}") from error
        finally:
            timer.cancel()
            del self._asked[number]
        if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
            raise LinkError("NATS: nobody answers now; a leader may be being elected")
        return message

    async def _on_answer(self, message: Msg) -> None:
        answer = self._asked.get(message.subject.rpartition(".")[2])
        self._silent = 0
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _give_up(self, client: Client, answer: asyncio.Future[Msg], seconds: float) -> None:
        """Fail a request that got no answer in time, and leave a server that answers none."""
        if answer.done():
            return
        answer.set_exception(LinkError(f"NATS: no answer within {seconds:g} s"))
        if client is not self._client:
            return
        self._silent += 1
        if self._silent >= _SILENT_REQUESTS:
            self._reason = f"{self._silent} requests in a row got no answer"
            self._lost.set()

    async def api(self, name: str, payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call the JetStream API.

        Raises:
            ApiError: it refuses.
            LinkError: see `request`.
        """
        data = json.dumps(payload).encode() if payload is not None else b""
        message = await self.request(f"$JS.API.{name}", data, self._waits.request)
        try:
            answer: dict[str, Any] = json.loads(message.data)
        except ValueError as error:
            raise LinkError(f"NATS answered {message.data[:80]!r} to {name}") from error
        if "error" in answer:
            error_of = answer["error"]
            raise ApiError(int(error_of.get("err_code", 0)), str(error_of.get("description", "refused")))
        return answer

    async def close(self) -> None:
        """Let go of the connection. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._drop()

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            log.warning("the connection to NATS was lost: %s", self._reason)
            await self._drop()
            await self._reconnect()
            log.info("connected to NATS again")

    async def _reconnect(self) -> None:
        failures = 0
        while True:
            try:
                await self._connect()
                return
            except LinkError as error:
                self._reason = str(error)
            await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
            failures += 1

    async def _drop(self) -> None:
        client, self._client = self._client, None
        self._up.clear()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(LinkError("NATS: the connection was lost"))
        if client is None:
            return
        try:
            async with asyncio.timeout(self._waits.connect):
                await client.close()
        except (TimeoutError, OSError) as error:
            log.debug("while closing a connection to NATS: %s", error)

    async def _connect(self) -> None:
        """Connect to the next server in turn."""
        settings = self._settings
        server = settings.servers[self._turn % len(settings.servers)]
        self._turn += 1
        client, self._lost = await connect(server, settings, self._note)
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.*", cb=self._on_answer)
        self._client = client
        self._silent = 0
        self._up.set()

    def _note(self, reason: str) -> None:
        self._reason = reason


async def connect(server: str, settings: JetStreamSettings, note: Any) -> tuple[Client, asyncio.Event]:
    """Return a client and the event that is set when it has lost its connection.

    Raises:
        StartError: nats-py is not installed.
        LinkError: the server cannot be reached or refuses; says what to do.
    """
    try:
        from nats import errors

        from publisher_svc.log.jetstream.client import StrictClient
    except ImportError as error:
        raise StartError(_MISSING) from error

    lost, last = asyncio.Event(), [""]

    async def on_error(error: Exception) -> None:
        last[0] = _words(error)
        note(last[0])

    async def on_lost() -> None:
        lost.set()

    shown = hide_password(server)
    options: dict[str, Any] = {
        "name": "lanecast publisher",
        "allow_reconnect": False,
        "connect_timeout": settings.waits.connect,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0.01,
        "ping_interval": _PING_SECONDS,
        "max_outstanding_pings": 2,
        "skip_subject_validation": True,  # they are all ours
        "error_cb": on_error,
        "disconnected_cb": on_lost,
        "closed_cb": on_lost,
    }
    if settings.credentials is not None:
        if not settings.credentials.is_file():
            raise StartError(f"the credentials file {settings.credentials} does not exist: check log_credentials")
        options["user_credentials"] = str(settings.credentials)
    context = _tls(settings, server)
    if context is not None:
        options["tls"] = context
    client = StrictClient()
    try:
        async with asyncio.timeout(2 * settings.waits.connect):
            await client.connect(servers=[server], **options)
    except (errors.Error, OSError, TimeoutError, ValueError) as error:
        await client.close()
        raise LinkError(_explain(shown, settings, last[0] or _words(error))) from error
    return client, lost


def _tls(settings: JetStreamSettings, server: str) -> ssl.SSLContext | None:
    if not (server.startswith("tls://") or settings.tls_ca or settings.tls_certificate):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca and str(settings.tls_ca))
        if settings.tls_certificate is not None:
            context.load_cert_chain(str(settings.tls_certificate), settings.tls_key and str(settings.tls_key))
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"cannot load the TLS files for NATS: {error}; check log_tls_ca and its like") from error
    return context


def _explain(shown: str, settings: JetStreamSettings, words: str) -> str:
    if "authorization" in words.lower() or "authentication" in words.lower():
        where = f"the credentials file {settings.credentials}" if settings.credentials else "user and password"
        return f"the NATS server {shown} does not let us in: check {where}"
    if "certificate" in words.lower() or "ssl" in words.lower() or "tls" in words.lower():
        return f"no TLS connection to the NATS server {shown} ({words}): check tls:// and log_tls_ca"
    if "reset by peer" in words.lower():
        # A server that refuses a password may cut the connection before its words have been read.
        return f"the NATS server {shown} ended the connection at once ({words}): check user and password"
    return f"the NATS server {shown} cannot be reached ({words}): start it, or correct the address"


def _words(error: BaseException) -> str:
    return str(error).strip("'") or type(error).__name__
