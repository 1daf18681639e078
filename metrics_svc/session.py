"""Gives the page on this machine what it needs to connect: gateways, channels and a token.

Owns the route `/api/v1/session`, which is for development: whoever may open the page gets a token without a login. So
it answers only requests that are certain to come from this machine; see `core.loopback`. Registered by `http`.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from lanecast.errors import StatusError
from lanecast.runtime import tokens
from metrics_svc.core.loopback import refusal

PATH = "/api/v1/session"
TOKEN_SECONDS = 3600
PERMISSION_DENIED = 7
"""The canonical gRPC code."""


@dataclass(frozen=True, slots=True)
class SessionPage:
    """The handler of `PATH`."""

    key: str
    """The development key of the data directory."""
    gateway_urls: tuple[str, ...]
    channels: tuple[str, ...]
    networks: tuple[str, ...]

    async def get(self, request: web.Request) -> web.Response:
        """Return gateways, channels and a fresh token for them."""
        problem = refusal(request.remote, request.headers, self.networks)
        if problem is not None:
            raise StatusError(PERMISSION_DENIED, "NOT_LOCAL", problem)
        token = tokens.issue(self.key, self.channels, subject="page", ttl_seconds=TOKEN_SECONDS)
        body = {
            "gatewayUrls": self.gateway_urls,
            "token": token,
            "channels": self.channels,
            "expiresInSeconds": TOKEN_SECONDS,
        }
        return web.json_response(body, headers={"Cache-Control": "no-store"})


async def disabled(request: web.Request) -> web.Response:  # noqa: ARG001 - aiohttp's signature
    """Answer in place of the page's handler where it is turned off."""
    message = "this service gives no tokens: bring one of your own, or set LANECAST_METRICS_SESSION_PAGE=true"
    raise StatusError(PERMISSION_DENIED, "SESSION_PAGE_OFF", message)
