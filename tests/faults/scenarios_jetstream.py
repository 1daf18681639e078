"""Faults of a log that several publishers share: NATS JetStream, one broker or three.

Owns what is done; what must be true is judged by `checker`. Listed in `scenarios`. What this needs of Lanecast (the
option `publisher.log`) and of the tests (`nats_servers`) is looked for when a scenario is to run.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

from faults.run import Run, Scenario
from faults.scenarios_processes import kill_everything, kill_publisher, now
from faults.stack import Plan
from publisher_svc.config import PublisherConfig

_STREAM = "LANECAST"


def not_built() -> str | None:
    """Say why nothing can be tried on JetStream."""
    if "log" not in {item.name for item in fields(PublisherConfig)}:
        return "the publisher has no log on JetStream yet"
    absent = [name for name in ("nats", "nats_servers") if find_spec(name) is None]
    return f"{', '.join(absent)} cannot be imported: run in a checkout, after `make install`" if absent else None


async def _leader(run: Run) -> str:
    """Return the name of the broker that leads the stream."""
    import nats

    servers: Any = run.stack.brokers
    client = await nats.connect([server.url for server in servers], max_reconnect_attempts=0)
    try:
        info = await client.jetstream().stream_info(_STREAM)
        return str(info.cluster.leader) if info.cluster and info.cluster.leader else servers[0].name
    finally:
        await client.close()


async def kill_leader(run: Run) -> None:
    """Kill the broker that leads, again and again, and start it anew."""
    for number in range(max(3, run.kills // 20)):
        await run.pause(1.0, 3.0)
        name = await _leader(run)
        victim = next(server for server in run.stack.brokers if server.name == name)
        since, since_ns = now()
        await asyncio.to_thread(victim.kill)
        if len(run.stack.brokers) == 1:
            await asyncio.to_thread(victim.start)
            run.outcome.recoveries.setdefault("broker ready", []).append(time.monotonic() - since)
        await run.recover_flow(since, since_ns)
        if len(run.stack.brokers) > 1:
            await run.pause(0.5, 2.0)
            await asyncio.to_thread(victim.start)
        run.tell(f"{number + 1} kills")


_ONE = Plan(events_per_second=500, subscribers=20, brokers=1)
_THREE = Plan(events_per_second=500, subscribers=20, brokers=3)
_DELIVERED = "no false acknowledgement; every acknowledged event is delivered once, in order"

SCENARIOS = (
    Scenario(
        "broker-killed", "the only broker killed (JetStream R1)", f"{_DELIVERED}; back within 3 s",
        kill_leader, _ONE, recover_seconds=3.0, unbuilt=not_built,
    ),
    Scenario(
        "leader-killed", "leader of three brokers killed (JetStream R3)", f"{_DELIVERED}; back within 8 s",
        kill_leader, _THREE, recover_seconds=8.0, unbuilt=not_built,
    ),
    Scenario(
        "publisher-killed-jetstream", "publisher killed at random moments, log on JetStream R3", _DELIVERED,
        kill_publisher, _THREE, ready_seconds=8.0, recover_seconds=8.0, unbuilt=not_built,
    ),
    Scenario(
        "everything-killed-jetstream", "all services killed at once, log on JetStream R1", _DELIVERED,
        kill_everything, _ONE, recover_seconds=8.0, unbuilt=not_built,
    ),
    Scenario(
        "rollout-state", "metrics_svc killed during a rollout",
        "alerts and rollout state are back; exposure never grew",
        None, unbuilt=lambda: "tests/integration/rollout kills services during rollouts; no scenario here does",
    ),
)  # fmt: skip
