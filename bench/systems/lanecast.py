"""Lanecast itself, started by `lanecast up`: publisher, gateways and metrics as processes of their own, the log on.

Publishes through the SDK as an AI service would, one message type per lane, and receives protobuf frames as the web
SDK would. Settings are the defaults, except ports, the data directory, and what the scenario names.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from google.protobuf.message import Message

from bench import websocket
from bench.scenario import TELEMETRY, Scenario
from bench.servers import HOST, ServerError, Servers, free_port
from bench.systems.base import Endpoints, Handshake
from lanecast import Ack, AsyncPublisher, PublisherSettings
from lanecast._version import __version__
from lanecast.ai.v1 import analytics_pb2, bots_pb2, concierge_pb2, strategy_pb2
from lanecast.core.priority import Priority
from lanecast.errors import NotAcknowledgedError, PublishError
from lanecast.runtime import tokens
from lanecast.v1 import gateway_pb2

_SERVICES = ("publisher_svc", "gateway_svc", "metrics_svc")
_CLOSE_SECONDS = 60.0
_UP = "import sys; from lanecast.cli.main import main; sys.exit(main())"
_SCHEDULING = "LANECAST_PROCESS_SCHEDULING"


class Lanecast:
    """See the module."""

    name = "lanecast"
    title = "Lanecast"
    lanes = True

    def missing(self) -> str | None:
        """Say which service cannot be started."""
        absent = [name for name in _SERVICES if find_spec(f"{name}.__main__") is None]
        return f"{', '.join(absent)} cannot be started from here: run in a checkout" if absent else None

    def version(self) -> str:
        """Return the version of this checkout."""
        return f"lanecast {__version__}"

    async def start(self, scenario: Scenario, directory: Path, servers: Servers) -> Endpoints:
        """Run `lanecast up`, wait for its ready file, and make a token for all channels."""
        _check_policy(scenario)
        data, ready_file = directory / "data", directory / "ready.json"
        ports = (f"--{name}-port=0" for name in ("publisher", "gateway", "metrics", "http"))
        options = (f"--data-dir={data}", f"--ready-file={ready_file}", f"--gateways={scenario.gateways}")
        environment = {"LANECAST_PUBLISHER_POLICY": scenario.policy} if scenario.policy else {}
        share = TELEMETRY[scenario.telemetry]
        if scenario.telemetry == "off":
            environment["OTEL_SDK_DISABLED"] = "true"
        elif share is not None:
            collector = free_port()
            servers.spawn("collector", [sys.executable, "-m", "bench.sink", str(collector)], urgent=False)
            await servers.wait_for_port(collector)
            environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{collector}"}
            environment |= {"OTEL_METRIC_EXPORT_INTERVAL": "5000", "OTEL_BSP_SCHEDULE_DELAY": "1000"}
        scheduling = os.environ.get(_SCHEDULING)
        if scheduling is not None:
            environment[_SCHEDULING] = scheduling
        command = [sys.executable, "-c", _UP, "up", *options, *ports, "--log-level=WARNING"]
        servers.spawn("up", command, environment, without="LANECAST_", urgent=False)
        # The file is written again for each stage of the start: it is complete when every service is in it.
        services = scenario.gateways + 2
        ready = json.loads(await servers.wait_for_file(ready_file, lambda text: _count(text) == services))
        where = {name: int(ready["urls"][name].rpartition(":")[2]) for name in ("publisher", "metrics")}
        gateway = urlsplit(ready["urls"]["websocket"]).port
        assert gateway is not None
        token = tokens.issue(tokens.load_or_create_key(data), ["*"], subject="bench", ttl_seconds=24 * 3600)
        pids = {service["name"]: service["pid"] for service in ready["services"]} | {"up": ready["pid"]}
        return Endpoints(
            HOST,
            gateway,
            where["publisher"],
            token,
            pids,
            {"metrics_port": where["metrics"], "trace_per_cent": round(100 * (share or 0))},
        )

    def subscriber(self, endpoints: Endpoints) -> LanecastSubscriber:
        """Return the subscriber protocol."""
        return LanecastSubscriber(endpoints.token)

    def publisher(self, endpoints: Endpoints, channels: list[str]) -> LanecastPublisher:  # noqa: ARG002
        """Return a publisher."""
        target = f"{endpoints.host}:{endpoints.publish_port}"
        return LanecastPublisher(target, int(endpoints.extra.get("trace_per_cent", 0)))

    async def report(self, endpoints: Endpoints, seconds: float) -> dict[str, Any]:
        """Return what metrics_svc measured by lane: accept to socket write, send to receipt, and each hop."""
        return await asyncio.wait_for(_latency(f"{endpoints.host}:{endpoints.extra['metrics_port']}", seconds), 10)


def _trace(number: int) -> bytes:
    """Return the context of a sampled trace of its own."""
    return (number + 1).to_bytes(16) + (number + 1).to_bytes(8) + b"\x01"


def _count(ready: str) -> int:
    return len(json.loads(ready)["services"]) if ready else 0


def _check_policy(scenario: Scenario) -> None:
    from publisher_svc.config import PublisherConfig

    if scenario.policy and "policy" not in {item.name for item in fields(PublisherConfig)}:
        raise ServerError(f"the publisher has no setting for the policy {scenario.policy}")


async def _latency(target: str, seconds: float) -> dict[str, Any]:
    import grpc
    from google.protobuf.duration_pb2 import Duration

    from lanecast.v1 import metrics_pb2, metrics_pb2_grpc

    request = metrics_pb2.GetLatencyRequest(window=Duration(seconds=max(1, round(seconds))))
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await metrics_pb2_grpc.MetricsServiceStub(channel).GetLatency(request)
    server: dict[str, Any] = {}
    end_to_end: dict[str, Any] = {}
    hops: dict[str, dict[str, Any]] = {}
    for figure in answer.figures:
        lane = Priority(figure.lane).name
        values = {
            "count": figure.count,
            "mean_ms": figure.mean_seconds * 1e3,
            "p50_ms": figure.p50_seconds * 1e3,
            "p95_ms": figure.p95_seconds * 1e3,
            "p99_ms": figure.p99_seconds * 1e3,
            "p999_ms": figure.p999_seconds * 1e3,
            "max_ms": figure.max_seconds * 1e3,
        }
        if figure.scope == metrics_pb2.LATENCY_SCOPE_SERVER and not figure.type:
            server[lane] = values | {"budget_ms": figure.budget_seconds * 1e3, "within_budget": figure.within_budget}
        elif figure.scope == metrics_pb2.LATENCY_SCOPE_END_TO_END and not figure.type:
            end_to_end[lane] = values
        elif figure.scope == metrics_pb2.LATENCY_SCOPE_HOP:
            hops.setdefault(metrics_pb2.Hop.Name(figure.hop).removeprefix("HOP_").lower(), {})[lane] = values
    return {"server": server, "end_to_end": end_to_end, "hops": hops}


class LanecastSubscriber:
    """Protobuf frames of `lanecast.v1.proto`."""

    subprotocol = "lanecast.v1.proto"
    opcode = websocket.BINARY

    def __init__(self, token: str) -> None:
        self._token = token
        self._notes = dict.fromkeys(("gap_frames", "gap_events", "pings", "errors", "drains"), 0)

    def path(self, channel: str) -> str:  # noqa: ARG002
        """Return the path."""
        return "/v1/ws"

    def handshake(self, channel: str) -> Handshake:
        """Say hello, then subscribe, each time waiting for the answer."""
        hello = gateway_pb2.Hello(token=self._token, client="lanecast-bench")
        yield from self._ask(gateway_pb2.ClientFrame(hello=hello), "welcome")
        subscribe = gateway_pb2.Subscribe(channel=channel)
        yield from self._ask(gateway_pb2.ClientFrame(subscribe=subscribe), "subscribed")

    def _ask(self, request: gateway_pb2.ClientFrame, wanted: str) -> Handshake:
        to_send = request.SerializeToString()
        while True:
            message = yield to_send
            answer = gateway_pb2.ServerFrame.FromString(message)
            kind = answer.WhichOneof("frame")
            if kind == wanted:
                return
            if kind == "error":
                raise websocket.HandshakeError(f"Lanecast refused: {answer.error.reason}: {answer.error.message}")
            to_send = self.reply(message) or b""

    def reply(self, message: bytes) -> bytes | None:
        """Answer a ping as the web SDK does, and count gaps, errors and drains."""
        answer = gateway_pb2.ServerFrame.FromString(message)
        kind = answer.WhichOneof("frame")
        if kind == "ping":
            self._notes["pings"] += 1
            now = answer.ping.server_send_time_unix_nano
            pong = gateway_pb2.Pong(
                sequence=answer.ping.sequence, client_receive_time_unix_nano=now, client_send_time_unix_nano=now
            )
            return gateway_pb2.ClientFrame(pong=pong).SerializeToString()
        if kind == "gap":
            self._notes["gap_frames"] += 1
            self._notes["gap_events"] += answer.gap.count
        elif kind == "error":
            self._notes["errors"] += 1
        elif kind == "drain":
            self._notes["drains"] += 1
        return None

    def notes(self) -> dict[str, int]:
        """Return how many frames of each kind came."""
        return self._notes


def payloads() -> dict[int, tuple[Priority, Callable[[str], Message]]]:
    """Return what makes a message of a text: one type per lane, the text in the field that a person would read."""
    return {
        1: (Priority.CRITICAL, lambda text: concierge_pb2.ConciergeInsight(text=text)),
        2: (Priority.HIGH, lambda text: bots_pb2.BotHandoff(summary=text)),
        3: (Priority.NORMAL, lambda text: analytics_pb2.ShapExplanation(subject=text)),
        4: (Priority.LOW, lambda text: strategy_pb2.StrategyRecommendation(rationale=text)),
    }


class LanecastPublisher:
    """The SDK's AsyncPublisher. The futures are looked at when all is sent: until then there is better to do."""

    def __init__(self, target: str, trace_per_cent: int = 0, settings: PublisherSettings | None = None) -> None:
        self._target = target
        self._settings = settings
        self._trace_per_cent = trace_per_cent
        self._refused: dict[int, str] = {}
        self._counters = dict.fromkeys(("sent", "acknowledged", "duplicates"), 0)
        self._futures: list[tuple[int, asyncio.Future[Ack]]] = []

    async def open(self) -> None:
        """Connect."""
        self._publisher = AsyncPublisher(self._target, settings=self._settings)
        await self._publisher.__aenter__()
        self._build = payloads()

    def send(self, number: int, channel: str, lane: int, payload: bytes) -> None:
        """Hand one event to the SDK."""
        priority, build = self._build[lane]
        message = build(payload.decode("ascii"))
        publish = self._publisher.publish_nowait
        try:
            if number % 100 < self._trace_per_cent:
                future = publish(channel, message, priority=priority, trace_context=_trace(number))
            else:
                future = publish(channel, message, priority=priority)
            self._futures.append((number, future))
        except PublishError as error:
            self._refused[number] = error.reason

    def flush(self) -> None:
        """Do nothing: the SDK decides when it writes."""

    async def close(self) -> None:
        """Wait for all acknowledgements, then close the SDK, and count."""
        try:
            await self._publisher.flush(_CLOSE_SECONDS)
        except NotAcknowledgedError as error:
            self._counters["unacknowledged"] = len(error.event_ids)
        await self._publisher.close()
        self._counters["sent"] = len(self._futures) + len(self._refused)
        for number, future in self._futures:
            self._count(number, future)

    def _count(self, number: int, future: asyncio.Future[Ack]) -> None:
        if not future.done() or future.cancelled():
            self._refused[number] = "UNANSWERED"
            return
        error = future.exception()
        if error is None:
            self._counters["acknowledged"] += 1
            self._counters["duplicates"] += future.result().duplicate
        else:
            self._refused[number] = error.reason if isinstance(error, PublishError) else type(error).__name__

    def refused(self) -> dict[int, str]:
        """Return what was not accepted."""
        return self._refused

    def counters(self) -> dict[str, int]:
        """Return acknowledgements and duplicates."""
        return self._counters
