"""A rollout on a real system: `python -m bench.rollout`.

Owns the processes (publisher, gateway, metrics), traffic on many channels, one WebSocket client that checks every
event, and the plan. It shows what a rollout does to delivery: nothing may be lost, doubled or out of order in any
stage, and no channel may be on the candidate that the history did not put there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
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
from lanecast.v1.event_pb2 import ARM_CANDIDATE
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

    def __init__(self, system: System, channels: Sequence[str], lane: Priority) -> None:
        self._system = system
        self._channels = channels
        self._lane = lane
        self._cursor: dict[str, int] = {}
        self.salt = ""
        self.received = 0
        self.ids: set[str] = set()
        self.problems: list[str] = []
        self.arms: Counter[tuple[int, int]] = Counter()
        """Batches by generation and arm."""
        self.highest_candidate = -1
        """Highest bucket of a channel that was seen on the candidate."""
        self.subscribed = asyncio.Event()

    async def run(self) -> None:
        """Receive until cancelled."""
        token = issue(load_or_create_key(self._system.folder), ["*"])
        url = f"ws://{self._system.address('gateway')}/v1/ws"
        options: Any = {"subprotocols": ["lanecast.v1.proto"], "compression": None, "proxy": None, "max_queue": 512}
        async with connect(url, **options) as socket_:
            await socket_.send(ClientFrame(hello=Hello(token=token)).SerializeToString())
            for channel in self._channels:
                frame = ClientFrame(subscribe=Subscribe(channel=channel, lanes=[self._lane.wire_value]))
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
                elif kind in {"gap", "error"}:
                    self.problems.append(str(frame_in)[:200])

    def _check(self, batch: Any) -> None:
        self.arms[batch.generation, batch.arm] += 1
        if batch.arm == ARM_CANDIDATE and self.salt:
            self.highest_candidate = max(self.highest_candidate, bucket(self.salt, batch.channel))
        for event in batch.events:
            before = self._cursor.get(batch.channel)
            if before is not None and not event.prev_offset <= before < event.offset:
                self.problems.append(f"{batch.channel}: {event.prev_offset}..{event.offset} after {before}")
            self._cursor[batch.channel] = event.offset
            if event.id in self.ids:
                self.problems.append(f"{event.id} came twice")
            self.ids.add(event.id)
            self.received += 1


class Traffic:
    """Publishes round robin to all channels at a rate."""

    def __init__(self, system: System, channels: Sequence[str], lane: Priority, rate: float) -> None:
        self._system, self._channels, self._lane, self._rate = system, channels, lane, rate
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
                    channel = self._channels[number % len(self._channels)]
                    message = ConciergeInsight(text=f"event {number}")
                    pending.append(publisher.publish_nowait(channel, message, priority=self._lane))
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
    folder: Path, policy: str, channels: int, rate: float, lane: Priority = Priority.HIGH
) -> AsyncIterator[tuple[System, Operator, Checker, Traffic]]:
    """Run a system with traffic and a checker; at the end everything acknowledged must have come."""
    system = System(folder, policy)
    names = [f"rollout:{number}" for number in range(channels)]
    checker = Checker(system, names, lane)
    traffic = Traffic(system, names, lane, rate)
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
                while not traffic.acknowledged <= checker.ids:  # noqa: ASYNC110 - nobody sets an event per id
                    await asyncio.sleep(0.02)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await operator.close()
        await system.close()
    missing = traffic.acknowledged - checker.ids
    if missing:
        checker.problems.append(f"{len(missing)} acknowledged events never came")


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


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate, and what it is tried on."""

    baseline: str
    candidate: Policy
    lane: Priority = Priority.HIGH


TRIALS = {
    "none": Trial("legacy-500ms", quick("quick")),
    "slow": Trial("default", quick("harmful", 40, fixed=True)),
    "p99": Trial(
        "legacy-500ms", Policy("harmful", dict.fromkeys(LANES, LanePolicy(0.65, 1_000, 1024 * 1024, 2.0, True)))
    ),
}
"""By `--harm`: a good candidate; windows of 40 ms; windows 30 % longer than those in force."""


async def _main(options: argparse.Namespace) -> int:
    trial = TRIALS[options.harm]
    baseline, candidate = trial.baseline, trial.candidate
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder), baseline, options.channels, options.rate, trial.lane) as (
            _system,
            operator,
            checker,
            traffic,
        ):
            name = await operator.create(plan(baseline, candidate.name, (10, 25, 50, 75, 100)), candidate)
            checker.salt = name
            began = time.monotonic()
            await operator.ask("start", name, reason="bench")
            rollout = await operator.until(name, OVER, options.timeout)
            took = time.monotonic() - began
            report = await operator.call("GetRolloutReport", pb.GetRolloutReportRequest(id=name))
        if options.report:
            Path(options.report).write_text(report.html)  # noqa: ASYNC240 - nothing else runs
        sys.stdout.write(f"{report.markdown}\n")
        sys.stdout.write(
            f"{state_of(rollout)} after {took:.1f} s; {len(traffic.acknowledged):,} events acknowledged,"
            f" {checker.received:,} received, problems: {checker.problems[:5] or 'none'}\n"
        )
        sys.stdout.write(f"batches by generation and arm: {dict(sorted(checker.arms.items()))}\n")
        wanted = {"COMPLETED"} if options.harm == "none" else {"ROLLED_BACK", "HELD"}
        return 0 if state_of(rollout) in wanted and not checker.problems else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollout", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--channels", type=int, default=600)
    parser.add_argument("--rate", type=float, default=1_500.0, help="events/s over all channels")
    parser.add_argument("--timeout", type=float, default=240.0)
    parser.add_argument(
        "--harm", choices=list(TRIALS), default="none", help="slow: windows of 40 ms; p99: 30 %% longer windows"
    )  # fmt: skip
    parser.add_argument("--report", default="", help="write the report as HTML to this file")
    return asyncio.run(_main(parser.parse_args(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
