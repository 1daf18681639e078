"""A real system to try rollouts on.

Owns the processes (publisher, gateway, metrics), traffic on many channels, one WebSocket client that checks every
event, and plans that take seconds. Nothing may be lost without notice, doubled or out of order in any stage, and no
channel may be on the candidate that the history did not put there. Used by `bench.rollout` and by tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from websockets.asyncio.client import connect

from lanecast import AsyncPublisher
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.bucketing import bucket
from lanecast.core.policy import LanePolicy, Policy
from lanecast.core.priority import LANES, Priority
from lanecast.runtime import policies
from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1 import rollout_pb2 as pb
from lanecast.v1.event_pb2 import ARM_CANDIDATE, GAP_REASON_EXPIRED
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Pong, ServerFrame, Subscribe

_SERVICE = "/lanecast.v1.RolloutService/"
OVER = {"COMPLETED", "ROLLED_BACK", "CANCELLED", "HELD"}


def quick(name: str, linger_ms: float = 2, *, fixed: bool = False, limit: float = 2.0) -> Policy:
    """Return a policy of short windows, with limits that a loaded machine keeps."""
    settings = LanePolicy(linger_ms / 1e3, 64, 32 * 1024, limit, fixed)
    return Policy(name, dict.fromkeys(LANES, settings))


class System:
    """Three processes on ports of their own."""

    def __init__(self, folder: Path, policy: str) -> None:
        self.folder = folder
        self._policy = policy
        self._ports = dict(zip(("publisher", "gateway", "metrics", "http"), _free_ports(4), strict=True))
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def address(self, name: str) -> str:
        """Return host:port of a service."""
        return f"127.0.0.1:{self._ports[name]}"

    async def start(self, name: str) -> None:
        """Start a service and wait until it is ready."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith("LANECAST_")}
        environ |= {
            "LANECAST_DATA_DIR": str(self.folder),
            "LANECAST_METRICS_TARGET": self.address("metrics"),
            "LANECAST_PUBLISHER_PORT": str(self._ports["publisher"]),
            "LANECAST_PUBLISHER_POLICY": self._policy,
            "LANECAST_PUBLISHER_DRAIN_SECONDS": "0.2",
            "LANECAST_GATEWAY_PORT": str(self._ports["gateway"]),
            "LANECAST_GATEWAY_PUBLISHER_TARGETS": self.address("publisher"),
            "LANECAST_GATEWAY_MAX_SUBSCRIPTIONS": "10000",
            "LANECAST_GATEWAY_MAX_COMMANDS_PER_SECOND": "10000",
            "LANECAST_GATEWAY_DRAIN_SECONDS": "0.2",
            "LANECAST_METRICS_PORT": str(self._ports["metrics"]),
            "LANECAST_METRICS_HTTP_PORT": str(self._ports["http"]),
            "LANECAST_METRICS_SESSION_PAGE": "false",
            "LANECAST_LOG_LEVEL": "WARNING",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"{name}_svc", env=environ, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"{name}_svc did not start")
        json.loads(line)
        self._processes[name] = process

    async def kill(self, name: str) -> None:
        """End a service as a crash would."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    def stop(self, name: str) -> None:
        """Let a service stand still, until `go_on` or its end."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """Let a service go on that stands still."""
        self._processes[name].send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """End everything."""
        for name in ("gateway", "publisher", "metrics"):
            process = self._processes.pop(name, None)
            if process is not None:
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Operator:
    """Calls of RolloutService by name."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=[("grpc.max_reconnect_backoff_ms", 300)])

    async def call(self, name: str, request: Any) -> Any:
        """Make a unary call; waits for the service."""
        response = getattr(pb, f"{name}Response")
        method = self._channel.unary_unary(
            _SERVICE + name,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        return await method(request, timeout=20, wait_for_ready=True)

    async def create(self, plan: pb.RolloutPlan, *made: Policy) -> str:
        """Create policies and a rollout; return its id."""
        for policy in made:
            await self.call("CreatePolicy", pb.CreatePolicyRequest(policy=policies.to_message(policy)))
        answer = await self.call("CreateRollout", pb.CreateRolloutRequest(plan=plan, actor="bench"))
        return str(answer.rollout.id)

    async def ask(self, verb: str, name: str, **context: Any) -> pb.Rollout:
        """Ask for a verb."""
        request = getattr(pb, f"{verb.capitalize()}RolloutRequest")
        who = pb.VerbContext(actor="bench", **context)
        found: pb.Rollout = (await self.call(f"{verb.capitalize()}Rollout", request(id=name, context=who))).rollout
        return found

    async def get(self, name: str) -> pb.Rollout:
        """Return a rollout."""
        found: pb.Rollout = (await self.call("GetRollout", pb.GetRolloutRequest(id=name))).rollout
        return found

    async def until(self, name: str, wanted: set[str], seconds: float = 120.0) -> pb.Rollout:
        """Return the rollout once it is in one of these states, or in one that it does not leave by itself."""
        async with asyncio.timeout(seconds):
            while True:
                rollout = await self.get(name)
                state = state_of(rollout)
                if state in wanted or state in OVER - {"HELD"}:
                    return rollout
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def state_of(rollout: pb.Rollout) -> str:
    """Return the state as a word."""
    return pb.RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_")


class Checker:
    """Receives everything and holds it against what was acknowledged."""

    def __init__(self, system: System, channels: Sequence[str], lanes: Sequence[Priority]) -> None:
        self._system = system
        self._channels = channels
        self._lanes = [lane.wire_value for lane in lanes]
        self._cursor: dict[tuple[str, int], int] = {}
        self.salt = ""
        self.received = 0
        self.expired = 0
        """Events of which a gap has said that they expired."""
        self.ids: set[str] = set()
        self.problems: list[str] = []
        self.arms: Counter[tuple[int, int]] = Counter()
        """Batches by generation and arm."""
        self.highest_candidate: dict[int, int] = {}
        """Highest bucket of a channel that was seen on the candidate, by generation."""
        self.candidate_times: tuple[float, float] | None = None
        """When the first and the last batch of the candidate came, in seconds."""
        self.subscribed = asyncio.Event()

    async def run(self) -> None:
        """Receive until cancelled."""
        token = issue(load_or_create_key(self._system.folder), ["*"])
        url = f"ws://{self._system.address('gateway')}/v1/ws"
        options: Any = {"subprotocols": ["lanecast.v1.proto"], "compression": None, "proxy": None, "max_queue": 512}
        async with connect(url, **options) as socket_:
            await socket_.send(ClientFrame(hello=Hello(token=token)).SerializeToString())
            for channel in self._channels:
                frame = ClientFrame(subscribe=Subscribe(channel=channel, lanes=self._lanes))
                await socket_.send(frame.SerializeToString())
            waiting = set(self._channels)
            async for data in socket_:
                assert isinstance(data, bytes)
                frame_in = ServerFrame.FromString(data)
                kind = frame_in.WhichOneof("frame")
                if kind == "subscribed":
                    waiting.discard(frame_in.subscribed.channel)
                    if not waiting:
                        self.subscribed.set()
                elif kind == "events":
                    self._check(frame_in.events)
                elif kind == "ping":
                    pong = Pong(sequence=frame_in.ping.sequence)
                    await socket_.send(ClientFrame(pong=pong).SerializeToString())
                elif kind == "gap" and frame_in.gap.reason == GAP_REASON_EXPIRED:
                    self._miss(frame_in.gap)
                elif kind in {"gap", "error"}:
                    self.problems.append(str(frame_in)[:200])

    def _miss(self, gap: Any) -> None:
        key = (gap.channel, gap.lane)
        if not gap.from_offset <= self._cursor.get(key, gap.from_offset) < gap.to_offset or not gap.count:
            self.problems.append(f"{key}: a gap {gap.from_offset}..{gap.to_offset} after {self._cursor.get(key)}")
        self._cursor[key] = gap.to_offset
        self.expired += gap.count

    def _check(self, batch: Any) -> None:
        self.arms[batch.generation, batch.arm] += 1
        if batch.arm == ARM_CANDIDATE:
            now = time.monotonic()
            self.candidate_times = (self.candidate_times[0] if self.candidate_times else now, now)
            highest = self.highest_candidate.get(batch.generation, -1)
            self.highest_candidate[batch.generation] = max(highest, bucket(self.salt, batch.channel))
        key = (batch.channel, batch.lane)
        for event in batch.events:
            before = self._cursor.get(key)
            if before is not None and not event.prev_offset <= before < event.offset:
                self.problems.append(f"{key}: {event.prev_offset}..{event.offset} after {before}")
            self._cursor[key] = event.offset
            if event.id in self.ids:
                self.problems.append(f"{event.id} came twice")
            self.ids.add(event.id)
            self.received += 1


class Traffic:
    """Publishes round robin to all channels at a rate, to each in all lanes in turn."""

    def __init__(
        self, system: System, channels: Sequence[str], lanes: Sequence[Priority], rate: float, ttl: float | None
    ) -> None:
        self._system, self._channels, self._lanes, self._rate, self._ttl = system, channels, lanes, rate, ttl
        self.acknowledged: set[str] = set()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Publish no more; `run` returns when all is acknowledged."""
        self._stop.set()

    async def run(self) -> None:
        """Publish until stopped."""
        pending: list[asyncio.Future[Any]] = []
        async with AsyncPublisher(self._system.address("publisher")) as publisher:
            began, number = time.monotonic(), 0
            while not self._stop.is_set():
                goal = int((time.monotonic() - began) * self._rate)
                while number < goal:
                    turn, place = divmod(number, len(self._channels))
                    channel, lane = self._channels[place], self._lanes[(turn + place) % len(self._lanes)]
                    message = ConciergeInsight(text=f"event {number}")
                    pending.append(publisher.publish_nowait(channel, message, priority=lane, ttl=self._ttl))
                    number += 1
                    if number % 64 == 0:
                        break
                if len(pending) > 2_000:
                    self._note(await asyncio.gather(*pending))
                    pending.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), 0.01)
            self._note(await asyncio.gather(*pending))

    def _note(self, acks: list[Any]) -> None:
        self.acknowledged.update(ack.id for ack in acks)


@asynccontextmanager
async def running(
    folder: Path,
    policy: str,
    channels: int,
    rate: float,
    lanes: Sequence[Priority] = (Priority.HIGH,),
    ttl: float | None = None,
) -> AsyncIterator[tuple[System, Operator, Checker, Traffic]]:
    """Run a system with traffic and a checker; at the end everything acknowledged must have come, or have expired."""
    system = System(folder, policy)
    names = [f"rollout:{number}" for number in range(channels)]
    checker = Checker(system, names, lanes)
    traffic = Traffic(system, names, lanes, rate, ttl)
    tasks: list[asyncio.Task[None]] = []
    operator = Operator(system.address("metrics"))
    try:
        for name in ("metrics", "publisher", "gateway"):
            await system.start(name)
        tasks = [asyncio.create_task(checker.run())]
        async with asyncio.timeout(30):
            await checker.subscribed.wait()
        tasks.append(asyncio.create_task(traffic.run()))
        yield system, operator, checker, traffic
        traffic.stop()
        await tasks[1]
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                while len(traffic.acknowledged - checker.ids) > checker.expired:  # noqa: ASYNC110 - no event per id
                    await asyncio.sleep(0.02)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await operator.close()
        await system.close()
    missing = len(traffic.acknowledged - checker.ids)
    if missing != checker.expired:
        checker.problems.append(f"{missing} acknowledged events never came, {checker.expired} expired by notice")


def plan(
    baseline: str, candidate: str, percents: Sequence[int], *, look: float = 1.0, least: float = 2.0
) -> pb.RolloutPlan:
    """Return a plan whose stages take seconds, as far as the traffic has the samples."""
    made = pb.RolloutPlan(
        baseline_policy=baseline, candidate_policy=candidate, objective=0.95, max_interference_ratio=10,
        settle_duration=_seconds(1.5), look_interval=_seconds(look), bake_duration=_seconds(2),
        verify_duration=_seconds(2), propagation_timeout=_seconds(15),
    )  # fmt: skip
    for percent in percents:
        made.stages.add(percent=percent, min_duration=_seconds(least), max_duration=_seconds(90))
    return made


def _seconds(value: float) -> Duration:
    return policies.duration(value)
