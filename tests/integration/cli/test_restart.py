"""`lanecast restart` under load: every process is replaced, and nothing is lost, doubled, out of order or refused."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from lanecast import AsyncPublisher, Priority, Start, Subscriber
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import exit_codes
from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1.event_pb2 import LanePosition
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, ServerFrame, Subscribe

from . import conftest
from .conftest import Command, clean_environ

CHANNEL = "agent:42"
LANE = Priority.HIGH
WAIT_SECONDS = 0.002


class Browser:
    """A client that does as the browser SDK does: resumes by position, and leaves in the slot that it is told."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self.ids: list[str] = []
        self.connections = 0
        self.subscribed = asyncio.Event()
        self._position: LanePosition | None = None

    async def run(self) -> None:
        while True:
            # A connection that is refused ends the test: there is always a gateway.
            async with connect(self._url, subprotocols=["lanecast.v1.proto"], proxy=None) as socket:  # type: ignore[list-item]
                self.connections += 1
                try:
                    await self._serve(socket)
                except (ConnectionClosed, TimeoutError):
                    continue

    async def _serve(self, socket: ClientConnection) -> None:
        positions = [self._position] if self._position is not None else []
        await socket.send(ClientFrame(hello=Hello(token=self._token)).SerializeToString())
        subscribe = Subscribe(channel=CHANNEL, lanes=[LANE.wire_value], positions=positions)
        await socket.send(ClientFrame(subscribe=subscribe).SerializeToString())
        async with asyncio.timeout(None) as slot:
            while True:
                frame = ServerFrame.FromString(await socket.recv())  # type: ignore[arg-type]
                kind = frame.WhichOneof("frame")
                assert kind not in {"gap", "error"}, frame
                if kind == "drain":
                    slot.reschedule(asyncio.get_running_loop().time() + frame.drain.reconnect_after_millis / 1000)
                elif kind == "subscribed":
                    self._position = self._position or frame.subscribed.positions[0]
                    self.subscribed.set()
                for event in frame.events.events:
                    self.ids.append(event.id)
                    self._position = LanePosition(lane=LANE.wire_value, epoch=frame.events.epoch, offset=event.offset)


async def test_a_rolling_restart_loses_doubles_and_refuses_nothing(background: conftest.Start, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    system = background(
        "lanecast.cli", "up", "--json", "--gateways", "2", "--ready-file", str(ready_file), "--data-dir", str(tmp_path),
        *(part for name in ("publisher", "gateway", "metrics", "http") for part in (f"--{name}-port", "0")),
        LANECAST_GATEWAY_DRAIN_SECONDS="0.5", LANECAST_PUBLISHER_DRAIN_SECONDS="2", LANECAST_LOG_LEVEL="WARNING",
    )  # fmt: skip
    urls = system.until(event="up")["urls"]
    before = processes(ready_file)
    token = issue(load_or_create_key(tmp_path), ("*",))
    browsers = [Browser(urls["websocket"], token) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        serving = [group.create_task(each.run()) for each in browsers]
        strangers = group.create_task(keep_connecting(urls["websocket"]))
        for each in browsers:
            await each.subscribed.wait()
        async with (
            AsyncPublisher(urls["publisher"]) as publisher,
            Subscriber(urls["publisher"]) as subscriber,
            subscriber.events(CHANNEL, lanes=[LANE], start=Start.EARLIEST) as stream,
        ):
            restarted = asyncio.Event()
            publishing = group.create_task(publish_until(publisher, restarted))
            restart = await asyncio.create_subprocess_exec(
                *command("restart", "--json", "--data-dir", str(tmp_path)),
                stdout=asyncio.subprocess.PIPE,
                env=clean_environ(),
            )
            out, _ = await restart.communicate()
            assert (restart.returncode, json.loads(out)) == (exit_codes.OK, {"restarted": True, "failed": ""})
            restarted.set()
            ids = await publishing
            received = [(await anext(stream)).id for _ in ids]
        for each in browsers:
            while len(each.ids) < len(ids):
                await asyncio.sleep(0.005)
        for task in (*serving, strangers):
            task.cancel()
    assert received == ids
    for each in browsers:
        assert each.ids == ids
    after = processes(ready_file)
    assert set(before) == set(after) == {"publisher", "gateway-1", "gateway-2", "metrics"}
    assert not set(before.values()) & set(after.values())
    assert system.stop() == exit_codes.OK


def test_nothing_to_restart_is_said(lanecast: Command, tmp_path: Path) -> None:
    result = lanecast("restart", "--data-dir", "here")
    assert result.code == exit_codes.UNAVAILABLE
    assert "no `lanecast up` is ready with the data directory here" in result.err


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lanecast.cli", *arguments]


def processes(ready_file: Path) -> dict[str, int]:
    return {each["name"]: each["pid"] for each in json.loads(ready_file.read_text())["services"]}


async def publish_until(publisher: AsyncPublisher, done: asyncio.Event) -> list[str]:
    """Publish steadily; return the ids, all of which were acknowledged."""
    ids: list[str] = []
    while not done.is_set():
        ids.append(f"e{len(ids)}")
        publisher.publish_nowait(CHANNEL, ConciergeInsight(text=ids[-1]), priority=LANE, id=ids[-1])
        await asyncio.sleep(WAIT_SECONDS)
    await publisher.flush()
    return ids


async def keep_connecting(url: str) -> Any:
    """Connect again and again; a connection that is refused fails the test."""
    while True:
        async with connect(url, subprotocols=["lanecast.v1.proto"], proxy=None):  # type: ignore[list-item]
            await asyncio.sleep(WAIT_SECONDS)
