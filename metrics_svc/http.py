"""The HTTP server: the API, Prometheus text, health, the page.

Owns the routes, the headers on all of them, the port and its release. Built by `app`.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence

from aiohttp import web

from lanecast.errors import StartError
from metrics_svc.core.prometheus import CONTENT_TYPE, render
from metrics_svc.core.telemetry import Telemetry
from metrics_svc.http_api import Handler, error_response, errors
from metrics_svc.session import PATH as SESSION_PATH

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 2.0
_MAX_BODY_BYTES = 4096


class HttpServer:
    """Serves HTTP/1.1 on one port."""

    def __init__(
        self,
        routes: Sequence[web.RouteDef],
        telemetry: Telemetry,
        session: Handler,
        headers: dict[str, str],
        clock_ns: Callable[[], int],
        page: Handler,
    ) -> None:
        self._telemetry = telemetry
        self._headers = headers
        self._clock_ns = clock_ns
        self._ready = False
        self._app = web.Application(middlewares=[_guard, errors], client_max_size=_MAX_BODY_BYTES)
        self._app.on_response_prepare.append(self._add_headers)
        self._app.add_routes(routes)
        self._app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._prometheus),
                web.get(SESSION_PATH, session, allow_head=False),
                web.get("/api/{path:.*}", _unknown),
                web.get("/{path:.*}", page),
            ]
        )
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=_CLOSE_SECONDS)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; return the port, which differs from `port` where that is 0.

        Raises:
            StartError: the port is in use or may not be bound.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, reuse_port=False, ssl_context=tls).start()
        except OSError as error:
            await self._runner.cleanup()
            raise StartError(
                f"cannot listen on {host}:{port} for HTTP: {error.strerror or error}; choose another http_port or stop"
                " the process that has it"
            ) from error
        self._ready = True
        bound: int = self._runner.addresses[0][1]
        return bound

    def drain(self) -> None:
        """Say at `/readyz` that the service is going away."""
        self._ready = False

    async def close(self) -> None:
        """Stop listening, give open requests a moment, cut the rest. Idempotent."""
        await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:  # noqa: ARG002 - aiohttp's signature
        return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})

    async def _readyz(self, request: web.Request) -> web.Response:  # noqa: ARG002
        if self._ready:
            return web.json_response({"status": "ready"}, headers={"Cache-Control": "no-store"})
        return error_response(503, 14, "DRAINING", "the service is going away")

    async def _prometheus(self, request: web.Request) -> web.Response:  # noqa: ARG002
        text = render(self._telemetry, self._clock_ns())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG002
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)
        response.headers.pop("Server", None)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keep tracebacks out of answers."""
    try:
        return await handler(request)
    except (web.HTTPException, ConnectionError, TimeoutError):
        raise
    except Exception:
        log.exception("unexpected failure at %s", request.path)
        return error_response(500, 13, "INTERNAL", "the service failed; its log has the details")


async def _unknown(request: web.Request) -> web.Response:
    return error_response(404, 5, "NOT_FOUND", f"there is nothing at {request.path[:200]}")
