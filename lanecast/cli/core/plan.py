"""Which processes make up a running system, and how each is configured.

Owns the names of the services' modules and environment variables, all in this place: the command line may not import
the services. Called by `lanecast up` and `lanecast demo`; starts nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lanecast.cli.core.nats import HOST, NatsServer
from lanecast.cli.core.supervisor import ChildSpec

DATA_DIR = "LANECAST_DATA_DIR"
METRICS_TARGET = "LANECAST_METRICS_TARGET"
LOG_LEVEL = "LANECAST_LOG_LEVEL"
CONFIG_FILE = "LANECAST_CONFIG"
SUPERVISED = "LANECAST_SUPERVISED"
PUBLISHER_HOST = "LANECAST_PUBLISHER_HOST"
PUBLISHER_PORT = "LANECAST_PUBLISHER_PORT"
PUBLISHER_LOG = "LANECAST_PUBLISHER_LOG"
PUBLISHER_LOG_CHECK = "LANECAST_PUBLISHER_LOG_CHECK"
PUBLISHER_LOG_REPLICAS = "LANECAST_PUBLISHER_LOG_REPLICAS"
PUBLISHER_LAZY_FSYNC = "LANECAST_PUBLISHER_ACCEPT_LAZY_FSYNC"
PUBLISHER_POLICY = "LANECAST_PUBLISHER_POLICY"
PUBLISHER_INSTANCE = "LANECAST_PUBLISHER_INSTANCE"
GATEWAY_HOST = "LANECAST_GATEWAY_HOST"
GATEWAY_PORT = "LANECAST_GATEWAY_PORT"
GATEWAY_INSTANCE = "LANECAST_GATEWAY_INSTANCE"
GATEWAY_REUSE_PORT = "LANECAST_GATEWAY_REUSE_PORT"
GATEWAY_PUBLISHER_TARGETS = "LANECAST_GATEWAY_PUBLISHER_TARGETS"
GATEWAY_ALLOWED_ORIGINS = "LANECAST_GATEWAY_ALLOWED_ORIGINS"
METRICS_HOST = "LANECAST_METRICS_HOST"
METRICS_PORT = "LANECAST_METRICS_PORT"
METRICS_HTTP_PORT = "LANECAST_METRICS_HTTP_PORT"
METRICS_INSTANCE = "LANECAST_METRICS_INSTANCE"
METRICS_PERF_GATEWAY_URLS = "LANECAST_METRICS_PERF_GATEWAY_URLS"
METRICS_PUBLISHER_TARGETS = "LANECAST_METRICS_PUBLISHER_TARGETS"
METRICS_GATEWAY_URLS = "LANECAST_METRICS_GATEWAY_URLS"

EXAMPLE = "example"
"""Kind of the child processes that are no services."""
WEBSOCKET_PATH = "/v1/ws"
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, not bound


@dataclass(frozen=True, slots=True)
class SystemSettings:
    """What `lanecast up` was asked for, with every port a real one."""

    data_dir: Path
    host: str = "127.0.0.1"
    publisher_port: int = 7400
    gateway_port: int = 7401
    metrics_port: int = 7402
    http_port: int = 7480
    gateways: int = 1
    log: str = ""
    """The event log, `sqlite` or `nats://…`; empty: as the publisher is configured."""
    log_check: tuple[str, ...] = ()
    log_replicas: int = 0
    """Replicas of a stream that is made; 0: as the publisher is configured."""
    accept_lazy_fsync: bool = False
    policy: str = ""
    """Delivery policy of the publishers; empty: as they are configured."""
    log_level: str = ""
    config: Path | None = None
    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may connect besides the dashboard's."""
    more_publisher_ports: tuple[int, ...] = ()
    """Ports of the publishers after the first. All use one log, which `log` names."""
    nats: tuple[NatsServer, ...] = ()
    """NATS servers to run."""
    tls: bool = False
    """Whether the services are configured to speak TLS."""
    gateway_urls: tuple[str, ...] = ()
    """Where browsers reach the gateways; empty: at this host and port."""

    def ports(self) -> dict[str, int]:
        """Return the ports by the option that sets each."""
        return {
            "--publisher-port": self.publisher_port,
            "--gateway-port": self.gateway_port,
            "--metrics-port": self.metrics_port,
            "--http-port": self.http_port,
        }

    def publishers(self) -> list[str]:
        """Return the addresses of all publishers."""
        host = _ANY_HOST.get(self.host, self.host)
        return [address(host, port) for port in (self.publisher_port, *self.more_publisher_ports)]

    def web(self, scheme: str) -> str:
        """Return `http` or `ws`, or that with an s."""
        return f"{scheme}s" if self.tls else scheme

    def urls(self) -> dict[str, str]:
        """Return where programs and browsers reach the system."""
        host = _ANY_HOST.get(self.host, self.host)
        dashboard = f"{self.web('http')}://{address(host, self.http_port)}/"
        return {
            "dashboard": dashboard,
            "pages": f"{dashboard}pages/",
            "websocket": f"{self.web('ws')}://{address(host, self.gateway_port)}{WEBSOCKET_PATH}",
            "publisher": ",".join(self.publishers()),
            "metrics": address(host, self.metrics_port),
        }


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one child process."""

    spec: ChildSpec
    service: str
    """Kind of the child: `publisher`, `gateway`, `metrics` or `EXAMPLE`."""
    arguments: tuple[str, ...]
    """Arguments of the Python interpreter."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables set on top of the present environment."""


def address(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plan_system(settings: SystemSettings) -> list[Launch]:
    """Return publishers, gateways and metrics, before them the NATS servers where there are any.

    Gateways are started last, when there is a publisher to connect to, and stopped first, then the publisher, and
    metrics when nobody is left to report to it.
    """
    gateways = [_gateway(settings, number) for number in range(1, settings.gateways + 1)]
    ports = (settings.publisher_port, *settings.more_publisher_ports)
    publishers = [_publisher(settings, number, port) for number, port in enumerate(ports, 1)]
    return [*map(_nats_server, settings.nats), *publishers, *gateways, _metrics(settings)]


def plan_examples(
    scripts: Mapping[str, Path], arguments: Mapping[str, Sequence[str]], supervisor_pid: int
) -> list[Launch]:
    """Return the example AI services, which are started after the services and stopped before them."""
    return [
        _example(name, supervisor_pid, [str(script), *arguments[name]], settle_seconds=2.0)
        for name, script in scripts.items()
    ]


def plan_draft(
    settings: SystemSettings, baseline: str, candidate: str, more: Sequence[str], supervisor_pid: int
) -> Launch:
    """Return what prepares a rollout, which does its work once: with the same request it is always the same rollout."""
    request = f"demo/{baseline}/{candidate}"
    command = ["-P", "-m", "lanecast.cli", "rollout", "--metrics", settings.urls()["metrics"], "create"]
    command += ["--from", baseline, "--to", candidate, "--request-id", request, *more]
    return _example("rollout", supervisor_pid, command, settle_seconds=0.0)


def _example(name: str, supervisor_pid: int, command: Sequence[str], settle_seconds: float) -> Launch:
    leash = ("-m", "lanecast.cli.supervise.leash", str(supervisor_pid))
    spec = ChildSpec(name, start_stage=2, settle_seconds=settle_seconds, is_service=False, ends_by_itself=True)
    return Launch(spec, EXAMPLE, (*leash, *command))


def _common(settings: SystemSettings) -> dict[str, str]:
    environ = {
        DATA_DIR: str(settings.data_dir),
        METRICS_TARGET: settings.urls()["metrics"],
        SUPERVISED: "1",
    }
    if settings.log_level:
        environ[LOG_LEVEL] = settings.log_level
    if settings.config is not None:
        environ[CONFIG_FILE] = str(settings.config)
    return environ


def _nats_server(server: NatsServer) -> Launch:
    where = address(HOST, server.port)
    arguments = ("-P", "-m", "lanecast.cli.supervise.nats_server", str(server.config_file), server.monitor_url, where)
    return Launch(ChildSpec(server.name, start_stage=-1, stop_stage=3), "nats", arguments)


def _publisher(settings: SystemSettings, number: int, port: int) -> Launch:
    instance = f"publisher-{number}"
    environ = {
        **_common(settings),
        PUBLISHER_HOST: settings.host,
        PUBLISHER_PORT: str(port),
        PUBLISHER_INSTANCE: instance,
        **_log(settings),
    }
    name = instance if settings.more_publisher_ports else "publisher"
    return Launch(ChildSpec(name, stop_stage=2), "publisher", ("-P", "-m", "publisher_svc"), environ)


def _log(settings: SystemSettings) -> dict[str, str]:
    """Return what was said of the event log and the policy: the rest stays as the environment and the file have it."""
    environ = {
        PUBLISHER_LOG: settings.log,
        PUBLISHER_LOG_CHECK: ",".join(settings.log_check),
        PUBLISHER_LOG_REPLICAS: str(settings.log_replicas or ""),
        PUBLISHER_LAZY_FSYNC: "true" if settings.accept_lazy_fsync else "",
        PUBLISHER_POLICY: settings.policy,
    }
    return {name: value for name, value in environ.items() if value}


def _gateway(settings: SystemSettings, number: int) -> Launch:
    name = f"gateway-{number}"
    environ = {
        **_common(settings),
        GATEWAY_HOST: settings.host,
        GATEWAY_PORT: str(settings.gateway_port),
        GATEWAY_INSTANCE: name,
        GATEWAY_REUSE_PORT: "true" if settings.gateways > 1 else "false",
        GATEWAY_PUBLISHER_TARGETS: ",".join(_turned(settings.publishers(), number - 1)),
        GATEWAY_ALLOWED_ORIGINS: ",".join(_origins(settings)),
    }
    return Launch(ChildSpec(name, start_stage=1, stop_stage=1), "gateway", ("-P", "-m", "gateway_svc"), environ)


def _metrics(settings: SystemSettings) -> Launch:
    environ = {
        **_common(settings),
        METRICS_HOST: settings.host,
        METRICS_PORT: str(settings.metrics_port),
        METRICS_HTTP_PORT: str(settings.http_port),
        METRICS_INSTANCE: "metrics-1",
        METRICS_GATEWAY_URLS: ",".join(settings.gateway_urls or (settings.urls()["websocket"],)),
        METRICS_PERF_GATEWAY_URLS: settings.urls()["websocket"],
        METRICS_PUBLISHER_TARGETS: settings.urls()["publisher"],
    }
    return Launch(ChildSpec("metrics", stop_stage=3), "metrics", ("-P", "-m", "metrics_svc"), environ)


def _turned(targets: Sequence[str], by: int) -> list[str]:
    """Return the targets with another one first for each gateway, so that publishers share the gateways."""
    first = by % len(targets)
    return [*targets[first:], *targets[:first]]


def _origins(settings: SystemSettings) -> Sequence[str]:
    hosts = ["127.0.0.1", "localhost"]
    if settings.host not in {*hosts, *_ANY_HOST}:
        hosts.append(settings.host)
    own = [f"{settings.web('http')}://{address(host, settings.http_port)}" for host in hosts]
    return list(dict.fromkeys([*own, *settings.allowed_origins]))
