"""`lanecast up --cluster-demo` under load: processes are stopped and killed, and clients miss nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from lanecast import AsyncPublisher, PublisherSettings, Start, Subscriber, SubscriberSettings
from lanecast.core import exit_codes
from lanecast.runtime.tokens import issue, load_or_create_key

from . import conftest
from .test_restart import CHANNEL, LANE, Browser, processes, publish_until

HEALTH = 0.3


async def test_a_cluster_outlives_each_of_its_processes(background: conftest.Start, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    system = background(
        "lanecast.cli", "up", "--json", "--cluster-demo", "--ready-file", str(ready_file), "--data-dir", str(tmp_path),
        *(part for name in ("publisher", "gateway", "metrics", "http") for part in (f"--{name}-port", "0")),
        LANECAST_GATEWAY_DRAIN_SECONDS="0.5", LANECAST_PUBLISHER_DRAIN_SECONDS="2", LANECAST_LOG_LEVEL="WARNING",
        LANECAST_GATEWAY_PUBLISHER_HEALTH_SECONDS=str(HEALTH),
    )  # fmt: skip
    started = system.until(event="up")
    urls, pids = started["urls"], processes(ready_file)
    targets = urls["publisher"].split(",")
    token = issue(load_or_create_key(tmp_path), ("*",))
    browsers = [Browser(urls["websocket"], token) for _ in range(4)]
    async with (
        asyncio.TaskGroup() as group,
        AsyncPublisher(targets, settings=PublisherSettings(health_seconds=HEALTH)) as publisher,
        Subscriber(targets, settings=SubscriberSettings(health_seconds=HEALTH)) as subscriber,
        subscriber.events(CHANNEL, lanes=[LANE], start=Start.EARLIEST) as stream,
    ):
        serving = [group.create_task(each.run()) for each in browsers]
        for each in browsers:
            await each.subscribed.wait()
        done = asyncio.Event()
        publishing = group.create_task(publish_until(publisher, done))

        os.kill(pids["publisher-1"], signal.SIGSTOP)
        await on(publisher, targets[1])
        os.kill(pids["publisher-1"], signal.SIGCONT)
        os.kill(pids["publisher-2"], signal.SIGKILL)
        await on(publisher, targets[0])
        await asyncio.to_thread(system.until, event="ready", name="publisher-2")
        os.kill(pids["nats-1"], signal.SIGKILL)
        await asyncio.to_thread(system.until, event="ready", name="nats-1")

        done.set()
        ids = await publishing
        received = [(await anext(stream)).id for _ in ids]
        for each in browsers:
            while len(each.ids) < len(ids):
                await asyncio.sleep(0.005)
        for task in serving:
            task.cancel()
    assert received == ids
    for each in browsers:
        assert each.ids == ids
    after = processes(ready_file)
    assert set(after) == {*pids} == {"nats-1", "nats-2", "nats-3", "publisher-1", "publisher-2", "gateway-1",
                                     "gateway-2", "metrics"}  # fmt: skip
    assert system.stop() == exit_codes.OK


async def on(publisher: AsyncPublisher, target: str) -> None:
    """Wait until the publisher is connected to a target and has got something acknowledged there."""
    while publisher.statistics().target != target:
        await asyncio.sleep(0.005)
    acknowledged = publisher.statistics().acknowledged
    while publisher.statistics().acknowledged == acknowledged:
        await asyncio.sleep(0.005)
