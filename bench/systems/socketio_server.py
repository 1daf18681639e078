"""The python-socketio server that is measured: `python -m bench.systems.socketio_server PORT`.

As its documentation recommends for speed: aiohttp, WebSocket only, no compression, handlers run inline, uvloop.
"""

from __future__ import annotations

import sys

import socketio  # type: ignore[import-untyped]
import uvloop
from aiohttp import web

from bench.machine import raise_open_files_limit


def build() -> web.Application:
    """Return the application: `join` enters a room, `publish` emits into one, `flush` answers when all is emitted."""
    server = socketio.AsyncServer(
        async_mode="aiohttp",
        transports=["websocket"],
        async_handlers=False,
        ping_interval=3600,
        max_http_buffer_size=1_000_000,
        http_compression=False,
    )

    async def join(sid: str, room: str) -> bool:
        await server.enter_room(sid, room)
        return True

    async def publish(_sid: str, room: str, payload: str) -> None:
        await server.emit("event", payload, room=room)

    async def flush(_sid: str) -> bool:
        return True

    for handler in (join, publish, flush):
        server.on(handler.__name__, handler)
    application = web.Application()
    server.attach(application)
    return application


if __name__ == "__main__":
    raise_open_files_limit()
    uvloop.install()
    web.run_app(build(), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
