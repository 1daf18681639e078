"""Options of metrics_svc.

Owns their names, defaults and checks. Read by `__main__` and by the command line, which starts the service as a child.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lanecast.core.channel import check_pattern
from lanecast.errors import ConfigError
from lanecast.runtime.config import option
from metrics_svc.core import objectives
from metrics_svc.core.objectives import Objectives
from metrics_svc.core.report_schedule import SCHEDULES

SECTION = "metrics"

_PAGE_CHANNELS = ("agent:42", "bots:handoffs", "analytics:valuations", "strategy:recommendations")


@dataclass(frozen=True)
class MetricsConfig:
    """Configuration of one metrics_svc process."""

    host: str = option("127.0.0.1", "Address to listen on, for gRPC and HTTP.")
    port: int = option(7402, "Port of the gRPC services; 0 takes a free one.")
    http_port: int = option(7480, "Port of the page and the HTTP API; 0 takes a free one.")
    data_dir: Path = option(Path(".lanecast"), "Directory of the log and the development key.", shared=True)
    instance: str = option("metrics-1", "Name of this process in telemetry.")
    gateway_urls: tuple[str, ...] = option(
        ("ws://127.0.0.1:7401/v1/ws",), "WebSocket addresses that the page connects to."
    )
    page_channels: tuple[str, ...] = option(
        _PAGE_CHANNELS, "Channels, or patterns of channels, that the page may read."
    )
    session_page: bool = option(
        True, "Give a page on this machine a token for page_channels. Turn it off outside development."
    )
    session_networks: tuple[str, ...] = option(
        (), "Networks besides loopback that may ask for such a token, for containers whose port is published locally."
    )
    publisher_targets: tuple[str, ...] = option(("127.0.0.1:7400",), "Publishers as host:port, for performance tests.")
    perf_gateway_urls: tuple[str, ...] = option(
        (), "WebSocket addresses that performance tests connect to; empty: gateway_urls."
    )
    operator_networks: tuple[str, ...] = option(
        (), "Networks besides loopback whose requests may change things over HTTP, as 10.1.0.0/16."
    )
    operator_origins: tuple[str, ...] = option(
        (), "Origins of pages, besides those opened by address or as localhost, that may change things over HTTP."
    )
    report_schedule: tuple[str, ...] = option(
        ("daily",), "Reports made at midnight UTC: daily, weekly, monthly-sla; empty for none."
    )
    max_reports: int = option(400, "Most reports that are kept; the oldest are deleted.")
    max_streams: int = option(64, "Most streams of metrics that are open at once, over gRPC and over HTTP each.")
    rollout_webhook: str = option("", "Web address that is told of each change of a rollout, as JSON; empty for none.")
    niceness: int = option(
        10, "How much more processor time others may claim, 0 to 19: delivery goes before telemetry."
    )
    slo_limits: tuple[str, ...] = option(
        (), "Limits of lanes that differ from the design's 1, 5, 10 and 50 ms, as CRITICAL=2ms."
    )
    slo_objectives: tuple[str, ...] = option(
        (), "Shares of deliveries within the limit over 30 days that differ from 99, 99.5, 99.5, 99 %, as LOW=98%."
    )
    slo_second_limits: tuple[str, ...] = option(
        (), "Wider limits for more deliveries, as HIGH=20ms@99.9%, or CRITICAL=none; CRITICAL has 5ms@99.9%."
    )
    slo_loss_budgets: tuple[str, ...] = option(
        (), "Shares of deliveries that may be lost which differ from 0.01, 0.05, 0.1 and 0.5 %, as LOW=1%."
    )
    alert_time_scale: float = option(
        1.0, "Multiplies the windows and times of all alert rules. For trying them out: 0.01 makes an hour 36 s."
    )
    webhook_url: str = option("", "Where alerts are sent to by POST; empty: nowhere.")
    webhook_secret: str = option("", "Key of the signature that notifications carry; empty: they carry none.")
    webhook_timeout_seconds: float = option(10.0, "Longest time for one try to send a notification.")
    webhook_deadline_seconds: float = option(3600.0, "How long a notification is tried before it is given up.")
    drain_seconds: float = option(5.0, "Longest time that calls in progress may take after SIGTERM.")

    def __post_init__(self) -> None:
        for url in self.gateway_urls:
            _check_url(url, "gateway_urls")
        for url in self.perf_gateway_urls:
            _check_url(url, "perf_gateway_urls")
        for name in self.report_schedule:
            if name not in SCHEDULES:
                raise ConfigError(f"report_schedule has {name!r}: use {', '.join(SCHEDULES)}")
        for pattern in self.page_channels:
            problem = check_pattern(pattern)
            if problem:
                raise ConfigError(f"page_channels: {problem}")
        for network in self.session_networks:
            _check_network(network, "session_networks")
        for network in self.operator_networks:
            _check_network(network, "operator_networks")
        if self.max_reports < 1:
            raise ConfigError("max_reports must be at least 1")
        if self.max_streams < 1 or self.drain_seconds < 0:
            raise ConfigError("max_streams must be at least 1 and drain_seconds at least 0")
        self._check_alerts()

    def objectives(self) -> Objectives:
        """Return what each lane promises.

        Raises:
            ConfigError: an entry is malformed or out of range.
        """
        return objectives.read(self.slo_limits, self.slo_objectives, self.slo_second_limits, self.slo_loss_budgets)

    def _check_alerts(self) -> None:
        self.objectives()
        if not 0.0001 <= self.alert_time_scale <= 1.0:
            raise ConfigError("alert_time_scale must be from 0.0001 to 1")
        if not 0.1 <= self.webhook_timeout_seconds <= 60.0:
            raise ConfigError("webhook_timeout_seconds must be from 0.1 to 60")
        if not 1.0 <= self.webhook_deadline_seconds <= 86_400.0:
            raise ConfigError("webhook_deadline_seconds must be from 1 to 86,400")
        for name, url in (("webhook_url", self.webhook_url), ("rollout_webhook", self.rollout_webhook)):
            parts = urlsplit(url)
            if url and (parts.scheme not in {"http", "https"} or not parts.hostname):
                raise ConfigError(f"{name} is no web address: write it as https://host/path")


def _check_url(url: str, option_name: str) -> None:
    parts = urlsplit(url)
    unsafe = any(char.isspace() or char in ";,'\"" for char in url)  # it goes into a response header
    if parts.scheme not in {"ws", "wss"} or not parts.hostname or unsafe:
        raise ConfigError(f"{option_name} has {url!r}: write it as ws://host:port/v1/ws or wss://host/v1/ws")


def _check_network(network: str, option_name: str) -> None:
    try:
        ipaddress.ip_network(network)
    except ValueError as error:
        raise ConfigError(f"{option_name} has {network!r}: write it as 172.16.0.0/12") from error
