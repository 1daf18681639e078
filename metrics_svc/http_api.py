"""The HTTP API of metrics: the same figures as over gRPC, as ProtoJSON and as server-sent events.

Owns the query parameters, the reading of bodies, and the form of errors, `{"code", "reason", "message"}`. Registered by
`http`; the modules of the other paths take its functions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message import Message

from lanecast.errors import StatusError
from lanecast.runtime.agent import in_turns
from metrics_svc import messages
from metrics_svc.alert_feed import Watcher
from metrics_svc.alert_messages import alert_message
from metrics_svc.core import selection as limits
from metrics_svc.core.operators import Operators
from metrics_svc.core.plot import DEFAULT_WINDOW_SECONDS
from metrics_svc.core.queries import Queries
from metrics_svc.core.selection import Selection
from metrics_svc.stream_parts import Newest, Parts
from metrics_svc.streams import Streams
from metrics_svc.watch import Watch

M = TypeVar("M", bound=Message)

PREFIX = "/api/v1/websocket-performance"
HEARTBEAT_SECONDS = 15.0
"""A stream that has nothing to say sends a comment this often, so that proxies keep it."""
WRITE_SECONDS = 10.0
"""A reader that takes nothing for this long is cut off."""

_HTTP_STATUS = {3: 400, 5: 404, 6: 409, 7: 403, 8: 429, 9: 409, 10: 409, 14: 503}
_COMMON = ("window", "lanes", "types", "arm")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MetricsApi:
    """Handlers of the paths under `PREFIX`."""

    def __init__(
        self, queries: Queries, streams: Streams, clock_ns: Callable[[], int], alerts: Watch, newest: Newest
    ) -> None:
        self._newest = newest
        self._alerts = alerts
        self._queries = queries
        self._streams = streams
        self._clock_ns = clock_ns

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(f"{PREFIX}/latency-metrics", self.latency, allow_head=False),
            web.get(f"{PREFIX}/throughput-metrics", self.throughput, allow_head=False),
            web.get(f"{PREFIX}/optimization-status", self.status, allow_head=False),
            web.get(f"{PREFIX}/grade", self.status, allow_head=False),
            web.get(f"{PREFIX}/history", self.history, allow_head=False),
            web.get(f"{PREFIX}/stream", self.stream, allow_head=False),
        ]

    async def latency(self, request: web.Request) -> web.Response:
        """Answer like GetLatency."""
        check_names(request, _COMMON)
        window = _window(request, limits.DEFAULT_WINDOW_SECONDS)
        report = self._queries.latency(_selection(request), self._clock_ns(), window)
        return json_response(messages.latency_response(report))

    async def throughput(self, request: web.Request) -> web.Response:
        """Answer like GetThroughput."""
        check_names(request, _COMMON)
        window = _window(request, limits.DEFAULT_WINDOW_SECONDS)
        report = self._queries.throughput(_selection(request), self._clock_ns(), window)
        return json_response(messages.throughput_response(report))

    async def status(self, request: web.Request) -> web.Response:
        """Answer like GetOptimizationStatus."""
        check_names(request, ("window",))
        window = _window(request, limits.DEFAULT_STATUS_WINDOW_SECONDS)
        return json_response(messages.status_response(self._queries.status(self._clock_ns(), window)))

    async def history(self, request: web.Request) -> web.Response:
        """Answer like GetHistory."""
        check_names(request, ("window",))
        window = _window(request, DEFAULT_WINDOW_SECONDS)
        steps = await in_turns(self._queries.history(self._clock_ns(), window))
        return json_response(messages.history_response(window, steps))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send what WatchMetrics would, as server-sent events, until the reader or the service goes."""
        check_names(request, (*_COMMON, "interval", "include"))
        text = one(request, "interval")
        interval = limits.check_interval(None if text is None else limits.parse_duration(text, "interval"))
        window = _window(request, limits.DEFAULT_WATCH_WINDOW_SECONDS, limits.MAX_WATCH_WINDOW_SECONDS)
        chosen = _selection(request)
        parts = Parts(_many(request, "include"), self._queries, self._newest)
        with self._streams.enter(), self._alerts.feed.watch(self._alerts.open_alerts()) as watcher:
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
            )
            await response.prepare(request)
            await write_event(response, request, "retry: 2000\n\n")
            try:
                await self._send_until_drained(response, request, chosen, interval, window, watcher, parts)
            except ConnectionError:
                return response  # the reader has gone
            return response

    async def _send_until_drained(
        self,
        response: web.StreamResponse,
        request: web.Request,
        chosen: Selection,
        interval: float,
        window: int,
        watcher: Watcher,
        parts: Parts,
    ) -> None:
        number = 0
        while True:
            now_ns = self._clock_ns()
            latency = self._queries.latency(chosen, now_ns, window)
            message = messages.watch_response(latency, self._queries.throughput(chosen, now_ns, window))
            await write_event(response, request, f"id: {number}\nevent: metrics\ndata: {to_json(message)}\n\n")
            number += 1
            for name, part in parts.due(now_ns):
                await write_event(response, request, f"event: {name}\ndata: {to_json(part)}\n\n")
            if not await self._pause(response, request, interval, watcher):
                await write_event(response, request, "event: drain\ndata: {}\n\n")
                return

    async def _pause(
        self, response: web.StreamResponse, request: web.Request, interval: float, watcher: Watcher
    ) -> bool:
        """Wait for the next figures, while alerts and heartbeats go out; say whether the stream shall go on."""
        loop = asyncio.get_running_loop()
        due = loop.time() + interval
        while True:
            for alert in watcher.take():
                await write_event(response, request, f"event: alert\ndata: {to_json(alert_message(alert))}\n\n")
            rest = due - loop.time()
            if rest <= 0:
                return not self._streams.draining
            if not await watcher.pause(self._streams, min(rest, HEARTBEAT_SECONDS)):
                return False
            if due - loop.time() > 0 and not watcher.pending:
                await write_event(response, request, ": heartbeat\n\n")


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors of ours in the one form that docs/errors.md describes."""
    try:
        return await handler(request)
    except StatusError as error:
        headers = {"Retry-After": str(max(1, round(error.retry_delay_seconds)))} if error.retry_delay_seconds else {}
        return error_response(_HTTP_STATUS.get(error.code, 500), error.code, error.reason, str(error), headers)


def error_response(
    status: int, code: int, reason: str, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Return an error with its canonical gRPC code."""
    body = {"code": code, "reason": reason, "message": message}
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store", **(headers or {})})


def json_response(message: Message) -> web.Response:
    """Return a message as ProtoJSON."""
    return web.Response(text=to_json(message), content_type="application/json", headers={"Cache-Control": "no-store"})


def to_json(message: Message) -> str:
    """Return a message as ProtoJSON, with every field."""
    return MessageToJson(message, indent=None, always_print_fields_with_no_presence=True)


async def write_event(response: web.StreamResponse, request: web.Request, text: str) -> None:
    """Write a part of a stream.

    Raises:
        ConnectionError: the reader has gone, or takes nothing.
    """
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.write(text.encode())
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader does not take what is sent") from None


async def read_change(request: web.Request, operators: Operators, message: M) -> M:
    """Return the body of a request that changes something.

    Raises:
        StatusError: it may not, or its body is not the message in JSON.
    """
    operators.check(request.remote, request.headers)
    try:
        text = await request.text()
    except web.HTTPRequestEntityTooLarge as error:
        raise limits.invalid("BODY_TOO_LARGE", "the body is too large: send at most 4 KiB", "body") from error
    except (UnicodeDecodeError, LookupError) as error:
        raise limits.invalid("BODY_MALFORMED", "the body is not UTF-8: send JSON", "body") from error
    try:
        return Parse(text or "{}", message, max_recursion_depth=8)
    except (ParseError, RecursionError) as error:
        name = message.DESCRIPTOR.full_name
        raise limits.invalid("BODY_MALFORMED", f"the body is no {name} in JSON: {error}"[:300], "body") from error


def check_names(request: web.Request, allowed: tuple[str, ...]) -> None:
    """Refuse parameters that are not among `allowed`.

    Raises:
        StatusError: there is one.
    """
    for name in request.query:
        if name not in allowed:
            use = f"use {', '.join(allowed)}" if allowed else "none is known here"
            text = f"unknown parameter {name!r:.60}: {use}"
            raise limits.invalid("PARAMETER_UNKNOWN", text, f"{name:.60}")


def one(request: web.Request, name: str) -> str | None:
    """Return the value of a parameter, None where it is not given.

    Raises:
        StatusError: it is given more than once.
    """
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise limits.invalid("PARAMETER_REPEATED", f"the parameter {name} is given more than once", name)
    return values[0] if values else None


def _many(request: web.Request, name: str) -> list[str]:
    return [part for value in request.query.getall(name, []) for part in value.split(",") if part]


def _window(request: web.Request, default: int, maximum: int = limits.MAX_WINDOW_SECONDS) -> int:
    text = one(request, "window")
    return limits.check_window(None if text is None else limits.parse_duration(text, "window"), default, maximum)


def _selection(request: web.Request) -> Selection:
    arm = (one(request, "arm") or "").lower().removeprefix("arm_")
    if arm not in {"", "baseline", "candidate"}:
        raise limits.invalid("ARM_UNKNOWN", f"unknown arm {arm!r:.60}: use baseline or candidate", "arm")
    lanes = limits.parse_lanes(_many(request, "lanes"))
    return Selection(lanes, limits.check_types(tuple(_many(request, "types"))), arm)
