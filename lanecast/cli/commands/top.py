"""`lanecast top`: latency, rates, grade and advice of a running system, live."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from lanecast.cli import options
from lanecast.cli.output import write_json
from lanecast.errors import ConfigError, LanecastError, StatusError

if TYPE_CHECKING:
    from rich.console import Console

    from lanecast.cli.core.top_view import Snapshot
    from lanecast.cli.metrics import MetricsClient

_UNIMPLEMENTED = 12

EPILOG = """\b
Examples:
  lanecast top
  lanecast top --window 5m --types
  lanecast top --once                              one look, for a log or a chat
  lanecast top --json --interval 5s | jq .status.grade

\b
Keys:
  q  quit        w  next window (10 s, 1 min, 5 min, 1 h)
  t  event types     space  pause

Latencies are milliseconds from acceptance by the publisher until the gateway's kernel took the last byte. The slowest
hop of each lane is marked."""


@click.command("top", short_help="Show what a running system does, live.", epilog=EPILOG)
@click.option(
    "--window",
    metavar="DURATION",
    default="60s",
    show_default=True,
    callback=options.to_seconds,
    help="The stretch of time up to now that figures are about, 1s to 30d.",
)
@click.option(
    "--interval",
    metavar="DURATION",
    default="1s",
    show_default=True,
    callback=options.to_seconds,
    help="Time between two looks.",
)
@click.option("--types", is_flag=True, help="Also show each event type.")
@click.option("--once", is_flag=True, help="Print one look and end.")
@options.metrics_option
@options.json_option
def command(window: float, interval: float, types: bool, once: bool, target: str, as_json: bool) -> None:
    """Show lanes, hops, rates, connections, grade, alerts and advice, each second, until q or Ctrl-C."""
    if interval < 0.1:
        raise ConfigError("--interval is shorter than 100ms: give a longer one")
    if not 1 <= window <= 30 * 86_400:
        raise ConfigError("--window must be 1s to 30d")
    screen = not once and not as_json and sys.stdout.isatty()
    top = _Top(int(window), interval, types=types)
    asyncio.run(top.live(target) if screen else top.print(target, as_json=as_json, once=once or not as_json))


class _Top:
    """What is shown, and how it is looked at."""

    def __init__(self, window: int, interval: float, *, types: bool) -> None:
        self._window = window
        self._interval = interval
        self._types = types
        self._paused = False
        self._quit = False
        self._wake = asyncio.Event()
        self._snapshot: Snapshot | None = None

    async def print(self, target: str, *, as_json: bool, once: bool) -> None:
        """Write looks as lines."""
        from rich.console import Console

        from lanecast.cli.core.top_view import view
        from lanecast.cli.metrics import connected

        console = Console(highlight=False, soft_wrap=True)
        async with connected(target) as client:
            while True:
                snapshot = await self._look(client)
                if as_json:
                    write_json(_to_dict(snapshot))
                else:
                    for line in view(snapshot, _columns()):
                        console.print(line)
                if once:
                    return
                await asyncio.sleep(self._interval)

    async def live(self, target: str) -> None:
        """Fill the screen until the user quits; a service that goes away is waited for."""
        from rich.console import Console
        from rich.live import Live

        from lanecast.cli.metrics import connected

        console = Console(highlight=False)
        async with connected(target) as client:
            self._snapshot = await self._look(client)  # before the screen is taken: it may not be there
            with _keys(self._on_key), Live(console=console, screen=True, auto_refresh=False) as live:
                while not self._quit:
                    live.update(self._render(console), refresh=True)
                    self._wake.clear()
                    try:
                        await asyncio.wait_for(self._wake.wait(), self._interval)
                    except TimeoutError:
                        if self._paused:
                            continue
                    await self._refresh(client)

    async def _refresh(self, client: MetricsClient) -> None:
        assert self._snapshot is not None
        if not self._paused:
            try:
                self._snapshot = await self._look(client)
            except LanecastError as error:
                self._snapshot.seen = time.time()
                self._snapshot.problem = " ".join(str(error).split())
        self._snapshot.paused = self._paused

    async def _look(self, client: MetricsClient) -> Snapshot:
        from google.protobuf.duration_pb2 import Duration

        from lanecast.cli.core.top_view import Snapshot
        from lanecast.v1 import metrics_pb2 as pb

        window = Duration(seconds=self._window)
        latency, throughput, status = await asyncio.gather(
            client.call(client.metrics.GetLatency, pb.GetLatencyRequest(window=window)),
            client.call(client.metrics.GetThroughput, pb.GetThroughputRequest(window=window)),
            client.call(client.metrics.GetOptimizationStatus, pb.GetOptimizationStatusRequest(window=window)),
        )
        types = None
        if self._types:
            names = pb.MetricsFilter(types=["*"])
            types = await client.call(client.metrics.GetLatency, pb.GetLatencyRequest(window=window, filter=names))
        alerts = await _alerts(client)
        return Snapshot(client.target, self._window, time.time(), latency, throughput, status, alerts, types)

    def _render(self, console: Console) -> Any:
        from rich.text import Text

        from lanecast.cli.core.top_view import view

        assert self._snapshot is not None
        size = console.size
        return Text("\n").join(view(self._snapshot, size.width, size.height))

    def _on_key(self, key: str) -> None:
        from lanecast.cli.core.top_view import WINDOWS

        if key in {"q", "Q", "\x04"}:
            self._quit = True
        elif key in {"w", "W"}:
            self._window = next((one for one in WINDOWS if one > self._window), WINDOWS[0])
        elif key in {"t", "T"}:
            self._types = not self._types
        elif key == " ":
            self._paused = not self._paused
        self._wake.set()


async def _alerts(client: MetricsClient) -> list[Any] | None:
    from lanecast.v1 import metrics_pb2 as pb

    try:
        answer = await client.call(client.metrics.ListAlerts, pb.ListAlertsRequest(page_size=100))
    except StatusError as error:
        if error.code == _UNIMPLEMENTED:
            return None
        raise
    return list(answer.alerts)


def _to_dict(snapshot: Snapshot) -> dict[str, Any]:
    from lanecast.cli.metrics import to_dict

    found: dict[str, Any] = {
        "target": snapshot.target,
        "windowSeconds": snapshot.window,
        "time": snapshot.now,
        "latency": to_dict(snapshot.latency),
        "throughput": to_dict(snapshot.throughput),
        "status": to_dict(snapshot.status),
    }
    if snapshot.types is not None:
        found["types"] = to_dict(snapshot.types)
    if snapshot.alerts is not None:
        found["alerts"] = [to_dict(alert) for alert in snapshot.alerts]
    return found


def _columns() -> int:
    text = os.environ.get("COLUMNS", "")
    if text.isdecimal() and int(text) > 0:
        return int(text)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 80


@contextmanager
def _keys(on_key: Any) -> Iterator[None]:
    """Hand over keys as they are pressed, without Enter and without showing them."""
    try:
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, termios.error):
        yield  # no terminal to read from: Ctrl-C still ends it
        return
    loop = asyncio.get_running_loop()
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, lambda: [on_key(key) for key in os.read(descriptor, 64).decode(errors="ignore")])
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
