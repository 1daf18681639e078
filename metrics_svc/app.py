"""Puts metrics_svc together.

The composition root: owns which parts there are and the order in which they start and stop. Called by `__main__`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lanecast.core.instruments import Instruments
from lanecast.core.priority import Priority
from lanecast.runtime import tls, tokens
from lanecast.runtime.grpc_server import GrpcServer
from lanecast.runtime.telemetry import Telemetry as Export
from lanecast.v1 import admin_pb2, metrics_pb2
from metrics_svc import agents, otlp_receiver, session, static_files
from metrics_svc.admin import Admin, AdminServicer
from metrics_svc.agents import Agents
from metrics_svc.alert_api import AlertsApi
from metrics_svc.computed import Computed
from metrics_svc.config import MetricsConfig
from metrics_svc.core import slo
from metrics_svc.core.history import RecentHistory
from metrics_svc.core.notices import Notice
from metrics_svc.core.objectives import Objectives
from metrics_svc.core.operators import Operators
from metrics_svc.core.queries import Queries
from metrics_svc.core.rules import Rules
from metrics_svc.core.telemetry import Telemetry
from metrics_svc.grpc_service import MetricsServicer
from metrics_svc.http import HttpServer
from metrics_svc.http_api import Handler, MetricsApi
from metrics_svc.keeper import Keeper
from metrics_svc.operations_api import OperationsApi
from metrics_svc.performance import PerformanceServicer, PerformanceTests
from metrics_svc.reports import Reports, ReportsServicer
from metrics_svc.rollout import wiring
from metrics_svc.rollout.http import RolloutApi
from metrics_svc.rollout.store import RolloutStore
from metrics_svc.rollout.wiring import Rollouts
from metrics_svc.self_report import SelfReport
from metrics_svc.streams import Streams
from metrics_svc.watch import Watch
from metrics_svc.webhook import Webhook

_BLAME_SECONDS = 10.0
"""How old the sentence about the slowest hop in an alert may be."""


class MetricsService:
    """One metrics_svc process."""

    def __init__(
        self,
        config: MetricsConfig,
        clock_ns: Callable[[], int] = time.time_ns,
        page_dir: Path = static_files.STATIC_DIR,
    ) -> None:
        self._config = config
        self._page_dir = page_dir
        self._clock_ns = clock_ns
        objectives = config.objectives()
        self.telemetry = Telemetry(clock_ns(), derive=slo.deriver(objectives))
        self._queries = Queries(self.telemetry, objectives)
        self.watch = self._build_watch(objectives)
        self._grpc_streams = Streams(config.max_streams)
        self._http_streams = Streams(config.max_streams)
        self._agents = Agents()
        self._admin = Admin(self._agents, self.telemetry, clock_ns)
        self._performance = PerformanceTests(
            config.data_dir, config.publisher_targets, config.perf_gateway_urls or config.gateway_urls, objectives
        )
        self._reports = Reports(
            config.data_dir / "metrics" / "reports", RecentHistory(self.telemetry, objectives), clock_ns,
            schedule=config.report_schedule, most=config.max_reports,
        )  # fmt: skip
        self.instruments = Instruments()
        self._self_report = SelfReport(self.instruments, self.telemetry, config.instance, clock_ns)
        self._computed = Computed(self.instruments, self.telemetry)
        self._export = Export(self.instruments, "metrics", config.instance)
        self._rollouts: Rollouts | None = None
        self._grpc: GrpcServer | None = None
        self._http: HttpServer | None = None

    async def start(self) -> dict[str, Any]:
        """Listen on both ports; return what the ready line says.

        Raises:
            StartError: a port is in use, or the development key cannot be read or made.
        """
        config = self._config
        secure = tls.server_context(tls.settings())
        store = await asyncio.to_thread(RolloutStore, config.data_dir)
        self._rollouts = rollouts = Rollouts(
            store, self.telemetry, self._grpc_streams, self._clock_ns, config.instance,
            self._build_webhook("rollouts", config.rollout_webhook),
        )  # fmt: skip
        self._http = await self._build_http(rollouts)
        self._grpc = self._build_grpc(rollouts)
        await rollouts.start()
        http_port = await self._http.start(config.host, config.http_port, secure)
        try:
            await self.watch.start()  # the history is there before the first report is taken
            port = await self._grpc.start(config.host, config.port)
        except BaseException:
            await self._http.close()
            await self.watch.close()
            raise
        self._reports.start()
        self._self_report.start()
        self._export.start()
        await self._grpc.serving()
        return {
            "address": f"{config.host}:{port}",
            "instance": config.instance,
            "http_address": f"{config.host}:{http_port}",
            "url": f"{'https' if secure else 'http'}://{config.host}:{http_port}/",
        }

    async def drain(self) -> None:
        """End streams, answer what was asked, release the ports."""
        assert self._grpc is not None
        assert self._http is not None
        self._http.drain()
        await self._grpc.draining()
        self._http_streams.drain()
        self._grpc_streams.drain()
        self._performance.drain()
        self._agents.drain()
        await self._reports.close()
        await self._grpc.stop(self._config.drain_seconds)
        await self._http.close()
        if self._rollouts is not None:
            await self._rollouts.close()
        await self._self_report.close()
        await self._export.close()
        await self.watch.close()

    def _build_watch(self, objectives: Objectives) -> Watch:
        config, clock_ns = self._config, self._clock_ns
        keeper = Keeper(config.data_dir, self.telemetry)
        webhook = self._build_webhook("alerts", config.webhook_url, keeper.keep_notice)

        def blame(lane: Priority, window_seconds: int) -> str:
            return self._queries.blame(lane, clock_ns(), window_seconds, _BLAME_SECONDS * config.alert_time_scale)

        rules = Rules(self.telemetry, objectives, scale=config.alert_time_scale, blame=blame)
        return Watch(self.telemetry, rules, keeper, webhook, instance=config.instance, clock_ns=clock_ns)

    def _build_webhook(self, name: str, url: str, on_changed: Callable[[Notice], None] | None = None) -> Webhook:
        config = self._config
        return Webhook(
            url,
            config.webhook_secret,
            name=name,
            timeout_seconds=config.webhook_timeout_seconds,
            deadline_seconds=config.webhook_deadline_seconds,
            clock_ns=self._clock_ns,
            on_changed=on_changed,
        )

    def _build_grpc(self, rollouts: Rollouts) -> GrpcServer:
        server = GrpcServer()
        receiver = otlp_receiver.OtlpReceiver(self.telemetry, self._clock_ns, rollouts.controller.take)
        server.add(otlp_receiver.SERVICE, receiver)
        server.add(agents.SERVICE, self._agents)
        server.add(wiring.SERVICE, rollouts.servicer)
        servicer = MetricsServicer(
            self._queries, self._grpc_streams, self._clock_ns, self.watch,
            [ReportsServicer(self._reports), PerformanceServicer(self._performance)],
        )  # fmt: skip
        server.add(metrics_pb2.DESCRIPTOR.services_by_name["MetricsService"], servicer)
        server.add(admin_pb2.DESCRIPTOR.services_by_name["AdminService"], AdminServicer(self._admin))
        return server

    async def _build_http(self, rollouts: Rollouts) -> HttpServer:
        api = MetricsApi(self._queries, self._http_streams, self._clock_ns, self.watch, rollouts.servicer.newest)
        operators = Operators(self._config.operator_networks, self._config.operator_origins)
        alerts = AlertsApi(self.watch, operators)
        rollout_api = RolloutApi(rollouts.servicer, operators)
        operations = OperationsApi(self._performance, self._admin, self._reports, operators)
        return HttpServer(
            [*api.routes(), *operations.routes(), *alerts.routes(), *rollout_api.routes()],
            self.telemetry,
            await self._session(),
            static_files.security_headers(self._config.gateway_urls),
            self._clock_ns,
            static_files.handler(self._page_dir),
        )

    async def _session(self) -> Handler:
        config = self._config
        if not config.session_page:
            return session.disabled
        key = await asyncio.to_thread(tokens.load_or_create_key, config.data_dir)
        return session.SessionPage(key, config.gateway_urls, config.page_channels, config.session_networks).get
