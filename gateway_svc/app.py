"""Composition root of the gateway.

Owns what is built from what, and the order of starting and stopping. Called by `__main__` and by tests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import Any

from gateway_svc.config import GatewayConfig
from gateway_svc.core.backlog import Totals
from gateway_svc.core.heartbeat import Wheel
from gateway_svc.core.hub import Hub
from gateway_svc.core.limits import SessionLimits
from gateway_svc.core.meter import Meter
from gateway_svc.core.session import Session, SessionContext
from gateway_svc.core.tracing import Tracing
from gateway_svc.core.types import TypeBook
from gateway_svc.edge import Edge, EdgeSettings
from gateway_svc.heartbeat import TICK_SECONDS, Heartbeat
from gateway_svc.inspection import Inspection
from gateway_svc.upstream import Upstream
from lanecast.core import codes
from lanecast.core.instruments import CONNECTION_ACTIVE, Instruments
from lanecast.runtime import tls
from lanecast.runtime.agent import Agent
from lanecast.runtime.telemetry import Telemetry
from lanecast.runtime.tokens import Identity, load_or_create_key, verify

log = logging.getLogger(__name__)

_CLOSE_GRACE_SECONDS = 1.0
_SLOT_GRACE_SECONDS = 0.25
"""How long after its slot a client may take to go by itself, where another process serves the port."""


class Gateway:
    """One gateway process; see `lanecast.runtime.lifecycle.Service`."""

    def __init__(self, config: GatewayConfig, instruments: Instruments | None = None) -> None:
        self._config = config
        self.instruments = instruments or Instruments()
        self._totals = Totals()
        types = TypeBook()
        self._meter = Meter(self.instruments, types, self._totals)
        self.upstream = Upstream(config, types, self._meter)
        self.hub = Hub(self.upstream, self._meter.sent, self._meter.arms.broken)
        self.upstream.bind(self.hub)
        self._wheel = Wheel(config.heartbeat_seconds, TICK_SECONDS)
        self._key = ""
        settings = EdgeSettings(config.allowed_origins, config.max_connections, config.max_frame_bytes)
        self.edge = Edge(self.hub, self._session_context(), self._wheel, self._meter, settings)
        self.edge.upstream_ready = lambda: self.upstream.connected
        self._heartbeat = Heartbeat(self._wheel, self.hub, self.edge)
        self._telemetry = Telemetry(self.instruments, "gateway", config.instance, config.metrics_target)
        if self._telemetry.spans is not None:
            self._meter.tracing = Tracing(self._telemetry.spans)
        self.instruments.gauge(CONNECTION_ACTIVE, lambda: float(self.edge.active[True]), protocol="protobuf")
        self.instruments.gauge(CONNECTION_ACTIVE, lambda: float(self.edge.active[False]), protocol="json")
        self.instruments.gauge(CONNECTION_ACTIVE, lambda: float(len(self.edge.polls)), protocol="poll")
        self._agent: Agent | None = None

    async def start(self) -> dict[str, Any]:
        """Listen, and connect to a publisher in the background: until then `/readyz` says 503."""
        config = self._config
        self._key = load_or_create_key(config.data_dir)
        secure = tls.server_context(tls.settings())
        port = await self.edge.start(config.host, config.port, reuse_port=config.reuse_port, tls=secure)
        self.upstream.start()
        self._heartbeat.start()
        self._telemetry.start()
        if config.metrics_target:
            inspection = Inspection(self.edge, config.instance)
            self._agent = Agent(config.metrics_target, "gateway_svc", config.instance, inspection)
            self._agent.start()
        host = f"[{config.host}]" if ":" in config.host else config.host
        return {"address": f"{host}:{port}", "path": "/v1/ws"}

    async def drain(self) -> None:
        """Send the sessions elsewhere, each in its slot, then close everything."""
        edge = self.edge
        if self._agent is not None:
            await self._agent.close()
        if self._config.reuse_port:
            await self._hand_over()
        edge.draining = True
        slots = self._announce_drain()
        edge.finish_polls()
        await self.upstream.flush()
        with suppress(TimeoutError):
            await asyncio.wait_for(edge.wait_flushed(), self._config.drain_seconds)
        if self._config.reuse_port:
            await self._serve_until(slots)
        for session, _ in slots:
            session.end(codes.GOING_AWAY)
        try:
            await asyncio.wait_for(edge.wait_empty(), _CLOSE_GRACE_SECONDS)
        except TimeoutError:
            log.info("%d clients did not answer the close in time", len(edge.connections))
        await edge.stop_listening()
        edge.abort_all()
        await self._heartbeat.close()
        await self.upstream.close()
        await self._telemetry.close()

    async def _hand_over(self) -> None:
        """Leave new connections to the other processes on the port; those that came here are still served."""
        await self.edge.stop_listening()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.edge.wait_settled(), _CLOSE_GRACE_SECONDS)

    def _announce_drain(self) -> list[tuple[Session, float]]:
        """Tell each session its slot; return until when each is served at most, on the loop's clock."""
        now = asyncio.get_running_loop().time()
        sessions = [each.session for each in self.edge.connections if each.session is not None]
        slot_seconds = self._config.drain_seconds / max(1, len(sessions))
        slots = []
        for index, session in enumerate(sessions):
            session.drain(int(slot_seconds * index * 1000))
            slots.append((session, now + slot_seconds * index + _SLOT_GRACE_SECONDS))
        return slots

    async def _serve_until(self, slots: list[tuple[Session, float]]) -> None:
        """Serve each session until it has gone elsewhere, or its slot is over: others take it over at once."""
        loop = asyncio.get_running_loop()
        empty = asyncio.create_task(self.edge.wait_empty(), name="drain-empty")
        try:
            for session, until in slots:
                if until > loop.time():
                    await asyncio.wait((empty,), timeout=until - loop.time())
                if empty.done():
                    return
                session.end(codes.GOING_AWAY)
        finally:
            empty.cancel()
            await asyncio.gather(empty, return_exceptions=True)

    def _session_context(self) -> SessionContext:
        config = self._config
        limits = SessionLimits(
            max_frame_bytes=config.max_frame_bytes,
            max_subscriptions=config.max_subscriptions,
            max_commands_per_second=config.max_commands_per_second,
        )
        return SessionContext(
            limits=limits,
            heartbeat_seconds=config.heartbeat_seconds,
            verify=self._verify,
            now_ns=time.time_ns,
            now=time.monotonic,
            totals=self._totals,
            on_receipt=self._meter.receipt,
            on_token=self._on_token,
        )

    def _verify(self, token: str) -> Identity:
        return verify(self._key, token)

    def _on_token(self, session: Session) -> None:
        self._wheel.authenticated(session)
