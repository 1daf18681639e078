"""Faults of processes: killed, paused, restarted.

Owns what is done; what must be true is judged by `checker`, and by what each asks for here. Listed in `scenarios`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

import grpc

from faults.processes import Service
from faults.run import Run, Scenario
from faults.stack import Plan
from lanecast.v1 import metrics_pb2, metrics_pb2_grpc

_AGAIN = 0.15
"""Share of kills after which the next one comes before the process is ready again."""
_IMPATIENT = 0.3
"""Share of kills after which the next one comes before everything has recovered."""


def now() -> tuple[float, int]:
    """Return the moment by the monotonic clock and by the wall clock."""
    return time.monotonic(), time.time_ns()


async def _kill(run: Run, service: Service) -> tuple[float, int]:
    """Kill a service and start it, now and then twice before it is ready; return when the last kill was."""
    moment = now()
    await service.kill()
    await service.spawn()
    while run.random.random() < _AGAIN:
        await run.pause(0.0, 0.4)
        moment = now()
        await service.kill()
        await service.spawn()
    await run.recover("ready", service.ready(), moment[0], limit=run.scenario.ready_seconds)
    return moment


async def _kill_many(run: Run, services: Sequence[Service]) -> None:
    for number in range(run.kills):
        await run.pause(0.05, 0.6)
        service = run.random.choice(services)
        since, since_ns = await _kill(run, service)
        if run.random.random() >= _IMPATIENT:
            await run.recover_flow(since, since_ns)
        run.tell(f"{number + 1} of {run.kills} kills")
    run.note(kills=sum(code == -signal.SIGKILL for service in services for code in service.exits))


async def kill_publisher(run: Run) -> None:
    """Kill the publisher at random moments."""
    await _kill_many(run, [run.stack.publisher])


async def kill_gateways(run: Run) -> None:
    """Kill gateways at random moments."""
    await _kill_many(run, run.stack.gateways)


async def kill_everything(run: Run) -> None:
    """Kill all processes at once, again and again."""
    stack = run.stack
    for number in range(max(3, run.kills // 10)):
        await run.pause(0.5, 2.0)
        since, since_ns = now()
        for service in stack.services():
            service.send(signal.SIGKILL)
        for service in stack.services():
            await service.wait()
        await asyncio.gather(*(service.start() for service in stack.services()))
        await run.recover_flow(since, since_ns)
        run.tell(f"{number + 1} times")


async def kill_crowded_gateway(run: Run) -> None:
    """Kill a gateway with many sessions; look at how they come back."""
    stack = run.stack
    peaks: list[int] = []
    for number in range(3):
        since, since_ns = now()
        victim = stack.gateways[number % len(stack.gateways)]
        await victim.kill()
        await victim.start()
        await run.recover_flow(since, since_ns)
        came = sorted(at for recorder in stack.recorders for at in recorder.reconnected_at if at > since)
        peaks.append(most_within(came, 0.1))
        run.tell(f"{number + 1} of 3")
        await run.pause(1.0, 2.0)
    run.note(sessions=len(stack.recorders), most_reconnects_in_100_ms=max(peaks))


def most_within(times: Sequence[float], seconds: float) -> int:
    """Return the greatest number of moments within any span of so many seconds; `times` ascends."""
    most = begin = 0
    for end, at in enumerate(times):
        while times[begin] < at - seconds:
            begin += 1
        most = max(most, end - begin + 1)
    return most


async def kill_metrics(run: Run) -> None:
    """Kill metrics_svc; delivery must not notice, and figures must be back."""
    stack = run.stack
    assert stack.metrics is not None
    for number in range(3):
        await run.pause(1.0, 2.0)
        since, since_ns = now()
        await stack.metrics.kill()
        await run.recover("deliver", stack.flowing(since_ns), since, limit=1.0)
        await stack.metrics.start()
        await run.recover("figures", _figures(stack.metrics.address), since, limit=10.0)
        run.tell(f"{number + 1} of 3")


async def _figures(target: str) -> None:
    """Return once metrics_svc has latency figures."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = metrics_pb2_grpc.MetricsServiceStub(channel)
        while True:
            try:
                answer = await stub.GetLatency(metrics_pb2.GetLatencyRequest(), timeout=2)
                if any(figure.count for figure in answer.figures):
                    return
            except grpc.RpcError as error:
                if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
            await asyncio.sleep(0.1)


def pausing(which: str, seconds: float) -> Callable[[Run], Awaitable[None]]:
    """Return an injection that stops a process for so long, and lets it go on."""

    async def inject(run: Run) -> None:
        stack = run.stack
        service = {"publisher": stack.publisher, "gateway": stack.gateways[0], "metrics": stack.metrics}[which]
        assert service is not None
        await run.pause(0.5, 1.0)
        _, paused_ns = now()
        service.send(signal.SIGSTOP)
        run.tell(f"{which} paused for {seconds:g} s")
        await asyncio.sleep(seconds)
        if which == "metrics":
            run.require(
                all(recorder.newest_ns > paused_ns for recorder in stack.recorders),
                "a subscriber got nothing while metrics_svc was paused",
            )
        since, since_ns = now()
        service.send(signal.SIGCONT)
        await run.recover_flow(since, since_ns)
        await run.pause(1.0, 2.0)

    return inject


async def restart_all(run: Run) -> None:
    """Restart every process in turn, the polite way, under load."""
    stack = run.stack
    for number in range(2):
        for service in stack.services():
            await run.pause(0.5, 1.0)
            since, since_ns = now()
            code = await service.terminate()
            run.require(code == 0, f"{service.name} ended with {code}: {service.words()}")
            down = time.monotonic()
            run.outcome.recoveries.setdefault("drain", []).append(down - since)
            await service.start()
            await run.recover_flow(down, since_ns)
        run.tell(f"round {number + 1} of 2")


async def storm(run: Run) -> None:
    """Have all subscribers reconnect at once, as after a failure of their network."""
    stack = run.stack
    for number in range(3):
        await run.pause(1.0, 2.0)
        since, since_ns = now()
        for recorder in stack.recorders:
            recorder.drop()
        await run.recover("deliver", stack.flowing(since_ns), since)
        came = sorted(at for recorder in stack.recorders for at in recorder.reconnected_at if at > since)
        run.note(sessions=len(stack.recorders), most_reconnects_in_100_ms=most_within(came, 0.1))
        run.tell(f"{number + 1} of 3")


_DELIVERED = "every acknowledged event is delivered once, in order"

SCENARIOS = (
    Scenario(
        "publisher-killed", "publisher killed at random moments", f"{_DELIVERED}; up again within 2 s",
        kill_publisher, recover_seconds=5.0,
    ),
    Scenario("gateway-killed", "gateways killed at random moments", _DELIVERED, kill_gateways, recover_seconds=5.0),
    Scenario("everything-killed", "all processes killed at once", _DELIVERED, kill_everything, recover_seconds=5.0),
    Scenario(
        "gateway-killed-crowded", "gateway killed under 1,000 sessions",
        "all resume, no gap, no duplicate, no stampede",
        kill_crowded_gateway, Plan(events_per_second=50, subscribers=1_000, restless_seconds=0), recover_seconds=10.0,
    ),
    Scenario(
        "metrics-killed", "metrics_svc killed", "delivery untouched; figures are back",
        kill_metrics, Plan(events_per_second=500, subscribers=20, restless_seconds=0, metrics=True),
    ),
    *(
        Scenario(
            f"{which}-paused-{seconds}", f"{which} paused for {seconds} s",
            "peers time out and go on; the paused one rejoins without harm",
            pausing(which, seconds), Plan(events_per_second=500, subscribers=20, metrics=which == "metrics"),
        )
        for which in ("publisher", "gateway", "metrics") for seconds in (1, 10, 60)
    ),
    Scenario(
        "rolling-restart", "rolling restart of every process under load", "nothing lost, nothing doubled",
        restart_all, Plan(metrics=True), recover_seconds=5.0,
    ),
    Scenario(
        "reconnect-storm", "reconnect storm of 2,000", "spread by jitter; no gap",
        storm, Plan(events_per_second=20, subscribers=2_000, channels=10, restless_seconds=0), recover_seconds=15.0,
    ),
)  # fmt: skip
