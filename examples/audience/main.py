"""Audience: stands in for the browsers of a whole company, so that what the others publish is also delivered.

    python examples/audience/main.py --channels agent:1-420 --channels house:1-546

A few WebSockets share the channels among them. Latency is measured, and rollouts
are judged, where an event reaches a socket: without anybody who listens there would be nothing to measure. It reads,
answers the server's pings and counts; it comes again when a gateway goes away.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from lanecast.errors import LanecastError
from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Pong, ServerFrame, Subscribe

sys.path.append(str(Path(__file__).resolve().parents[1]))

import service

NAME = "audience"
DEFAULT_GATEWAY = "ws://127.0.0.1:7401/v1/ws"
OPTIONS: dict[str, Any] = {
    "subprotocols": ["lanecast.v1.proto"],
    "compression": None,
    "proxy": None,
    "ping_interval": None,
}
CHANNELS_PER_SOCKET = 60
"""A gateway takes as many commands at once, and more: 100."""
MAX_CHANNELS = 10_000
_RANGE = re.compile(r"(.*?)([0-9]{1,9})-([0-9]{1,9})")
RETRY_SECONDS = (0.5, 3.0)
"""A random time between these passes before a connection is made again."""


@dataclass(slots=True)
class Heard:
    """What has come so far."""

    events: int = 0
    gaps: int = 0
    connections: int = 0
    """Made since the start; more than there are sockets where gateways went away."""


async def listen(options: argparse.Namespace, channels: Sequence[str], heard: Heard) -> None:
    """Listen to some channels, for ever."""
    while True:
        try:
            async with connect(options.gateway, **OPTIONS) as socket:
                heard.connections += 1
                await _subscribe(socket, options, channels)
                await _read(socket, heard)
        except (OSError, TimeoutError, WebSocketException) as error:
            sys.stderr.write(f"audience: the gateway is away ({error}), connecting again\n")
        await asyncio.sleep(random.uniform(*RETRY_SECONDS))


async def _subscribe(socket: ClientConnection, options: argparse.Namespace, channels: Sequence[str]) -> None:
    token = issue(load_or_create_key(Path(options.data_dir)), ["*"])
    await socket.send(ClientFrame(hello=Hello(token=token)).SerializeToString())
    for channel in channels:
        await socket.send(ClientFrame(subscribe=Subscribe(channel=channel)).SerializeToString())


async def _read(socket: ClientConnection, heard: Heard) -> None:
    async for data in socket:
        frame = ServerFrame.FromString(data if isinstance(data, bytes) else data.encode())
        kind = frame.WhichOneof("frame")
        if kind == "events":
            heard.events += len(frame.events.events)
        elif kind == "ping":
            pong = ClientFrame(pong=Pong(sequence=frame.ping.sequence))
            await socket.send(pong.SerializeToString())
        elif kind == "gap":
            heard.gaps += 1
        elif kind == "error":
            sys.stderr.write(f"audience: {frame.error.message}\n")


def channels_of(texts: Iterable[str]) -> list[str]:
    """Return channels by name, `agent:42`, and by number, `agent:1-420`.

    Raises:
        ValueError: there are none in a range.
    """
    found: list[str] = []
    for text in texts:
        match = _RANGE.fullmatch(text)
        if match is None:
            found.append(text)
            continue
        first, last = int(match[2]), int(match[3])
        if not first <= last < first + MAX_CHANNELS:
            raise ValueError(f"{text} is no range of 1 to {MAX_CHANNELS:,} channels: write the smaller number first")
        found += [f"{match[1]}{number}" for number in range(first, last + 1)]
    return list(dict.fromkeys(found))


async def run(options: argparse.Namespace) -> int:
    """Listen until told to stop; return the exit code."""
    stop = asyncio.Event()
    service.watch_signals(stop)
    heard, channels = Heard(), channels_of(options.channels)
    sockets = -(-len(channels) // CHANNELS_PER_SOCKET)
    listeners = [asyncio.create_task(listen(options, channels[each::sockets], heard)) for each in range(sockets)]
    sys.stdout.write(f"audience: {len(listeners)} sockets listen to {len(channels)} channels\n")
    sys.stdout.flush()
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([waiting, *listeners], return_when=asyncio.FIRST_COMPLETED)
    for task in (waiting, *listeners):
        task.cancel()
    await asyncio.gather(waiting, *listeners, return_exceptions=True)
    sys.stdout.write(f"audience: {heard.events} events came, {heard.gaps} gaps, {heard.connections} connections\n")
    for task in done - {waiting}:
        task.result()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog=NAME, description="Listen to the demo's channels.", allow_abbrev=False)
    parser.add_argument("--gateway", default=DEFAULT_GATEWAY, help=f"WebSocket address (default {DEFAULT_GATEWAY})")
    parser.add_argument("--data-dir", default=".lanecast", help="where the development key is (default .lanecast)")
    parser.add_argument("--channels", action="append", required=True, help="a channel, or many as in agent:1-420")
    try:
        return asyncio.run(run(parser.parse_args(arguments)))
    except ValueError as error:
        parser.error(str(error))
    except LanecastError as error:
        return service.failed(error)


if __name__ == "__main__":
    sys.exit(main())
