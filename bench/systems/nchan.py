"""Nchan: nginx with its publish and subscribe module, from Debian's packages.

One WebSocket per channel publishes (an HTTP request per event costs nginx more), subscribers get plain WebSocket
frames. Messages are kept in memory for a few seconds, as Nchan needs for its promise not to lose any.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from shutil import which
from typing import Any, cast

from bench import websocket
from bench.scenario import Scenario
from bench.servers import HOST, Servers, free_port
from bench.systems.base import Endpoints, Handshake

_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/lib/nginx/modules")
_MODULE = "ngx_nchan_module.so"
_CONNECTIONS_AT_ONCE = 50
_NORMAL_CLOSURE = (1000).to_bytes(2, "big")
_CLOSE_SECONDS = 60.0
_CONFIG = """
load_module {module};
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile {files};
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log warn;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    nchan_shared_memory_size 512M;
    server {{
        listen {host}:{port} backlog=4096;
        location ~ ^/pub/(\\w+)$ {{
            nchan_publisher websocket http;
            nchan_channel_id $1;
            nchan_message_buffer_length 2000;
            nchan_message_timeout 10s;
        }}
        location ~ ^/sub/(\\w+)$ {{
            nchan_subscriber websocket;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""


def find_module() -> str | None:
    """Return the path of the nginx module."""
    return next((path for folder in _MODULES if os.path.exists(path := f"{folder}/{_MODULE}")), None)  # noqa: PTH110


def find_nginx() -> str | None:
    """Return the path of nginx, which Debian puts where only root looks."""
    return which("nginx") or which("nginx", path="/usr/sbin:/usr/local/sbin")


class Nchan:
    """See the module."""

    name = "nchan"
    title = "Nchan"
    lanes = False

    def missing(self) -> str | None:
        """Say how to install it where it is not."""
        if find_nginx() and find_module():
            return None
        return "nginx with Nchan is not installed: apt-get install nginx libnginx-mod-nchan"

    def version(self) -> str:
        """Return nginx's version and Debian's of the module, where dpkg knows it."""
        nginx = find_nginx()
        assert nginx is not None
        text = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr.strip()
        query = which("dpkg-query")
        if query is None:
            return text
        command = [query, "-W", "-f", "nchan ${Version}", "libnginx-mod-nchan"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return f"{text.removeprefix('nginx version: ')}, {found}" if found else text

    async def start(self, scenario: Scenario, directory: Path, servers: Servers) -> Endpoints:
        """Start nginx with one worker per core."""
        nginx, module = find_nginx(), find_module()
        assert nginx is not None
        assert module is not None
        port = free_port()
        config = directory / "nginx.conf"
        connections = scenario.sockets + scenario.channels * scenario.publishers + 1024
        values = {
            "module": module,
            "user": "user root;" if os.geteuid() == 0 else "",
            "workers": os.cpu_count() or 1,
            "files": connections + 1024,
            "connections": connections,
            "directory": directory,
            "host": HOST,
            "port": port,
        }
        config.write_text(_CONFIG.format(**values))
        servers.spawn("nginx", [nginx, "-c", str(config), "-p", str(directory)])
        await servers.wait_for_port(port)
        return Endpoints(HOST, port, port)

    def subscriber(self, endpoints: Endpoints) -> NchanSubscriber:  # noqa: ARG002
        """Return the subscriber protocol."""
        return NchanSubscriber()

    def publisher(self, endpoints: Endpoints, channels: list[str]) -> NchanPublisher:
        """Return a publisher."""
        return NchanPublisher(endpoints.host, endpoints.publish_port, channels)

    async def report(self, endpoints: Endpoints, seconds: float) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: it measures no latency."""
        return {}


class NchanSubscriber:
    """Plain frames; the path names the channel."""

    subprotocol = ""
    opcode = websocket.BINARY

    def path(self, channel: str) -> str:
        """Return the path."""
        return f"/sub/{channel}"

    def handshake(self, channel: str) -> Handshake:  # noqa: ARG002
        """Do nothing: the path said it all."""
        yield from ()

    def reply(self, message: bytes) -> bytes | None:  # noqa: ARG002
        """Answer nothing."""
        return None

    def notes(self) -> dict[str, int]:
        """Return nothing."""
        return {}


class _Channel(asyncio.Protocol):
    """One publishing WebSocket. Nchan answers each message with a status, which is dropped."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._head = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.WriteTransport | None = None
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's, so this cannot be asserted.
        self.transport = cast("asyncio.WriteTransport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.ready.done():
            self.answers += 1
            return
        self._head += data
        try:
            if websocket.upgrade_end(self._head):
                self.ready.set_result(None)
        except websocket.HandshakeError as error:
            self.ready.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("nginx closed the connection"))
        if not self.closed.done():
            self.closed.set_result(None)


class NchanPublisher:
    """One WebSocket per channel."""

    def __init__(self, host: str, port: int, channels: list[str]) -> None:
        self._host, self._port = host, port
        self._channels: dict[str, _Channel] = {}
        self._names = channels
        self._pending: dict[str, list[bytes]] = {}
        self._sent = 0

    async def open(self) -> None:
        """Connect, some at a time."""
        for start in range(0, len(self._names), _CONNECTIONS_AT_ONCE):
            await asyncio.gather(*map(self._connect, self._names[start : start + _CONNECTIONS_AT_ONCE]))

    async def _connect(self, name: str) -> None:
        request = websocket.upgrade_request(self._host, self._port, f"/pub/{name}")
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: _Channel(request), self._host, self._port)
        await channel.ready
        self._channels[name] = channel

    def send(self, number: int, channel: str, lane: int, payload: bytes) -> None:  # noqa: ARG002
        """Frame one event and keep it for `flush`."""
        self._pending.setdefault(channel, []).append(websocket.frame(payload, websocket.TEXT))
        self._sent += 1

    def flush(self) -> None:
        """Write what is pending, one call per channel."""
        for name, frames in self._pending.items():
            transport = self._channels[name].transport
            assert transport is not None
            transport.write(b"".join(frames))
        self._pending.clear()

    async def close(self) -> None:
        """Say goodbye on each connection; nginx answers once it has read everything before it."""
        self.flush()
        for channel in self._channels.values():
            assert channel.transport is not None
            channel.transport.write(websocket.frame(_NORMAL_CLOSURE, websocket.CLOSE))
        closed = [channel.closed for channel in self._channels.values()]
        if closed:
            await asyncio.wait_for(asyncio.gather(*closed), _CLOSE_SECONDS)

    def refused(self) -> dict[int, str]:
        """Return nothing: the status frames do not say which event they are about."""
        return {}

    def counters(self) -> dict[str, int]:
        """Return how many events were framed and how many reads had answers."""
        return {"sent": self._sent, "answers": sum(channel.answers for channel in self._channels.values())}
