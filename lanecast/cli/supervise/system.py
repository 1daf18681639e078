"""Runs a whole system from what the user asked for: checks, lock, ports, ready file, then the supervisor loop.

Owns the order of the checks. Called by `lanecast up` and `lanecast demo --up`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lanecast.cli import options
from lanecast.cli.core import plan
from lanecast.cli.core.plan import Launch, SystemSettings, plan_system
from lanecast.cli.supervise.data_dir import DataDirLock
from lanecast.cli.supervise.loop import SupervisorLoop
from lanecast.cli.supervise.ports import choose_ports
from lanecast.cli.supervise.ready_file import ReadyFile
from lanecast.cli.supervise.report import ChildReporter

_LISTENERS = ("publisher", "gateway", "metrics", "http")
"""What has a port option."""


@dataclass(frozen=True, slots=True)
class SystemRequest:
    """The options of `lanecast up`."""

    data_dir: Path
    host: str
    ports: Mapping[str, int]
    """By option name; 0 for a free one."""
    gateways: int
    ready_file: Path | None
    log_level: str
    config: Path | None
    as_json: bool
    log: str = ""
    log_check: tuple[str, ...] = ()
    log_replicas: int = 0
    accept_lazy_fsync: bool = False

    @classmethod
    def of_options(cls, values: Mapping[str, Any], *, as_json: bool) -> Self:
        """Return the request that the values of `options.system_options` make."""
        return cls(
            data_dir=values["data_dir"],
            host=values["host"],
            ports={f"--{name}-port": values[f"{name}_port"] for name in _LISTENERS},
            gateways=values["gateways"],
            ready_file=values["ready_file"],
            log_level=values["log_level"] or "",
            config=values["config"],
            as_json=as_json,
            **{name: values[name] for name in ("log", "log_check", "log_replicas", "accept_lazy_fsync")},
        )


def run_system(request: SystemRequest, also: Callable[[SystemSettings], Sequence[Launch]] | None = None) -> int:
    """Run the services, and what `also` adds to them, until a signal; return the exit code.

    Raises:
        ConfigError: the options contradict one another.
        StartError: ports or the data directory cannot be used.
    """
    ready_file = ReadyFile(request.ready_file.absolute()) if request.ready_file else None
    with DataDirLock(request.data_dir.absolute()):
        settings = _settle(request)
        if ready_file is not None:
            ready_file.remove()
        launches = [*plan_system(settings), *(also(settings) if also else ())]
        reporter = ChildReporter(settings.urls(), settings.data_dir, as_json=request.as_json, ready_file=ready_file)
        return asyncio.run(SupervisorLoop(launches, reporter).run())


def _settle(request: SystemRequest) -> SystemSettings:
    ports = choose_ports(request.host, request.ports)
    return SystemSettings(
        data_dir=request.data_dir.absolute(),
        host=request.host,
        log=request.log,
        log_check=request.log_check,
        log_replicas=request.log_replicas,
        accept_lazy_fsync=request.accept_lazy_fsync,
        publisher_port=ports["--publisher-port"],
        gateway_port=ports["--gateway-port"],
        metrics_port=ports["--metrics-port"],
        http_port=ports["--http-port"],
        gateways=request.gateways,
        log_level=request.log_level,
        config=request.config,
        allowed_origins=options.listed_setting("allowed_origins", plan.GATEWAY_ALLOWED_ORIGINS),
        gateway_urls=options.listed_setting("gateway_urls", plan.METRICS_GATEWAY_URLS),
    )
