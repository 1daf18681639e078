"""The life of a service process: event loop, signals, ready line, drain, exit code.

Owns the order of starting and stopping. Called by each service's `__main__`; knows no service.

A service that is ready prints one JSON line on standard output, `{"ready": "publisher", "address": …, "pid": …}`, and
nothing else there; its log goes to standard error. SIGTERM or SIGINT drains it and it exits with 0; a second signal
ends it at once. A supervised service (`LANECAST_SUPERVISED=1`) also drains when its standard input is closed, which
happens when the supervisor is gone, however it went.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from lanecast.core import exit_codes
from lanecast.errors import ConfigError, StartError
from lanecast.runtime.logs import configure_logs
from lanecast.runtime.scheduling import be_urgent

log = logging.getLogger(__name__)

_COLLECT_SECONDS = 60.0
_SWITCH_SECONDS = 0.000_5
"""How long a thread may keep the interpreter while the event loop waits for it; Python's own 5 ms are five budgets."""

SUPERVISED_VARIABLE = "LANECAST_SUPERVISED"


class Service(Protocol):
    """What a process runs."""

    async def start(self) -> dict[str, Any]:
        """Start, and return what the ready line says of it, `address` at the least.

        Raises:
            StartError: it cannot start; says what to do.
        """

    async def drain(self) -> None:
        """Stop accepting work, finish what was accepted, release everything. Called once."""


def run(name: str, build: Callable[[], Service], *, urgent: bool = False) -> int:
    """Run a service until it is told to stop; return the exit code. `urgent`: it carries events, see `scheduling`."""
    configure_logs(name)
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        return _run_loop(name, build, urgent=urgent)
    except ConfigError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return exit_codes.USAGE
    except StartError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return exit_codes.CANNOT_START


def _run_loop(name: str, build: Callable[[], Service], *, urgent: bool) -> int:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_main(name, build, urgent=urgent))


async def _main(name: str, build: Callable[[], Service], *, urgent: bool) -> int:
    stop = asyncio.Event()
    _watch_signals(stop)
    service = build()  # within the loop: grpc.aio binds to the one it is made in
    facts = await service.start()
    if urgent:
        be_urgent()  # only now: what it does to start is not urgent
    collector = _tame_collector()
    sys.stdout.write(json.dumps({"ready": name, "pid": os.getpid(), **facts}) + "\n")
    sys.stdout.flush()
    watcher = await _watch_supervisor(stop) if os.environ.get(SUPERVISED_VARIABLE) == "1" else None
    await stop.wait()
    log.info("draining")
    collector.cancel()
    await service.drain()
    if watcher is not None:
        watcher.close()
    log.info("stopped")
    return exit_codes.OK


def _tame_collector() -> asyncio.Task[None]:
    """Keep garbage collection out of the way of events.

    A full collection looks at everything that is kept, 10 ms and more in a busy publisher. So it runs by the clock, and
    what was made at the start is left out for good. Young objects are collected as usual, a little less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 1_000_000)
    return asyncio.create_task(_collect_by_the_clock(), name="collect")


async def _collect_by_the_clock() -> None:
    while True:
        await asyncio.sleep(_COLLECT_SECONDS)
        gc.collect()


def _watch_signals(stop: asyncio.Event) -> None:
    def on_signal() -> None:
        if stop.is_set():
            sys.stderr.write("second signal: ending at once\n")
            os._exit(exit_codes.INTERRUPTED)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


class _EndOfInput(asyncio.Protocol):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._stop.set()


async def _watch_supervisor(stop: asyncio.Event) -> asyncio.BaseTransport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: _EndOfInput(stop), sys.stdin)
    return transport
