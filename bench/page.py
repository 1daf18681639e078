"""The browser SDK under load: one page in Chromium, while its gateway is killed again and again.

Run by hand: `python -m bench.page`. Publishes at a fixed rate in all four lanes and kills the gateway with SIGKILL at
even distances. In the page: how long the SDK held the main thread for a message, the browser's long tasks, the heap
after a collection, what `continuity()` says against what was acknowledged, and the one-way latency of live events
against what the servers say of the same events. Page and gateway share one clock here, so the bound that the SDK states
for its estimate of the difference can be checked as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench.servers import free_port
from lanecast import AsyncPublisher, Priority
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.runtime.tokens import issue, load_or_create_key

_DRIVER = Path(__file__).parents[1] / "web" / "e2e" / "sdk.mjs"
_CHANNELS = tuple(f"load:{number}" for number in range(4))
_LANES = (Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW)
_TICK_SECONDS = 0.01
_SAMPLE_EVERY = 5
_STOP_SECONDS = 15.0


class System:
    """A publisher and a gateway, and the browser in front of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {name: free_port() for name in ("publisher", "gateway", "page", "proxy")}
        self._processes: dict[str, Process] = {}

    @property
    def publisher(self) -> str:
        """host:port of the publisher."""
        return f"127.0.0.1:{self._ports['publisher']}"

    async def start(self, name: str) -> None:
        """Start a service and wait until it is ready."""
        environ = {key: value for key, value in os.environ.items() if not key.startswith("LANECAST_")} | {
            "LANECAST_DATA_DIR": str(self._folder / "data"),
            "LANECAST_LOG_LEVEL": "ERROR",
            "LANECAST_PUBLISHER_PORT": str(self._ports["publisher"]),
            "LANECAST_GATEWAY_PORT": str(self._ports["gateway"]),
            "LANECAST_GATEWAY_PUBLISHER_TARGETS": self.publisher,
            "LANECAST_GATEWAY_ALLOWED_ORIGINS": f"http://127.0.0.1:{self._ports['page']}",
        }
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", f"{name}_svc", env=environ, stdout=PIPE)
        self._processes[name] = process
        assert process.stdout is not None
        if not await process.stdout.readline():
            raise RuntimeError(f"{name}_svc did not start")

    async def kill(self, name: str) -> None:
        """End a service as a crash would."""
        process = self._processes.pop(name)
        process.kill()
        await process.wait()

    async def open_page(self) -> None:
        """Start the browser, and the page in it with every channel subscribed."""
        ports = [str(self._ports[name]) for name in ("page", "proxy", "gateway")]
        self._processes["driver"] = await asyncio.create_subprocess_exec(
            "node", str(_DRIVER), str(self._folder / "site"), *ports, cwd=_DRIVER.parents[1], stdin=PIPE, stdout=PIPE,
            limit=1 << 26,
        )  # fmt: skip
        await self.call("fresh")
        key = load_or_create_key(self._folder / "data")
        await self.call("token", token=issue(key, ["*"]))
        await self.call("open", path="/load.html")
        await self.call("load", channels=_CHANNELS, every=_SAMPLE_EVERY)

    async def call(self, command: str, **arguments: Any) -> Any:
        """Run a command of the driver and return its answer."""
        process = self._processes["driver"]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        answer = json.loads(await process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return await self.call("evaluate", expression=expression)

    async def close(self) -> None:
        """End everything."""
        driver = self._processes.pop("driver", None)
        if driver is not None:
            assert driver.stdin is not None
            driver.stdin.close()
            await asyncio.wait_for(driver.wait(), _STOP_SECONDS)
        for process in self._processes.values():
            process.terminate()
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)


@asynccontextmanager
async def running() -> AsyncIterator[System]:
    """Run a system with an open page."""
    with tempfile.TemporaryDirectory(prefix="lanecast-page-") as folder:
        (Path(folder) / "data").mkdir()
        system = System(Path(folder))
        try:
            await system.start("publisher")
            await system.start("gateway")
            await system.open_page()
            yield system
        finally:
            await system.close()


async def publish(system: System, rate: int, seconds: float) -> int:
    """Publish round robin over channels and lanes at a rate; return how many events were acknowledged."""
    total = int(rate * seconds)
    acks: list[asyncio.Future[Any]] = []
    async with AsyncPublisher(system.publisher) as publisher:
        began = time.monotonic()
        while len(acks) < total:
            due = min(total, int((time.monotonic() - began) * rate))
            for number in range(len(acks), due):
                message = ConciergeInsight(text=f"event {number}", conversation_id="conversation-17", confidence=0.9)
                lane = _LANES[number // len(_CHANNELS) % len(_LANES)]
                acks.append(publisher.publish_nowait(_CHANNELS[number % len(_CHANNELS)], message, priority=lane))
            await asyncio.sleep(_TICK_SECONDS)
        await asyncio.gather(*acks)
    return total


async def disturb(system: System, kills: int, seconds: float) -> None:
    """Kill the gateway at even distances, and start it again at once."""
    for _ in range(kills):
        await asyncio.sleep(seconds / (kills + 1))
        await system.kill("gateway")
        await system.start("gateway")


async def heaps(system: System, seconds: float, times: int) -> list[tuple[float, float]]:
    """Return the heap in MiB after a collection, at even distances, with the page's time of each."""
    found = []
    for _ in range(times):
        await asyncio.sleep(seconds / times)
        at = await system.evaluate("performance.now()")
        found.append((float(at), await system.call("heap") / 2**20))
    return found


async def measure(rate: int, seconds: float, kills: int) -> dict[str, Any]:
    """Return everything that is measured."""
    async with running() as system:
        await publish(system, rate, 3)  # the code is compiled, the clock is known
        warm = await system.evaluate("load.count")
        first = await system.call("heap")
        published, _, heap = await asyncio.gather(
            publish(system, rate, seconds), disturb(system, kills, seconds), heaps(system, seconds, 6)
        )
        due = rate * 3 + published
        with suppress(RuntimeError):  # what has not come by then is lost, and shown as such
            await system.call("wait", expression=f"load.count >= {due}")
        clock = await system.evaluate("load.clockError()")
        report: dict[str, Any] = await system.evaluate("load.report()")
        report |= {"due": due, "warm": warm, "clock": clock, "complaints": await system.call("complaints")}
        report["heap"] = [(0.0, first / 2**20), *heap, (0.0, await system.call("heap") / 2**20)]
        return report


def show(report: dict[str, Any]) -> bool:
    """Print the figures; return whether nothing was lost or doubled, and every bound held."""
    told, count, due = report["continuity"], report["count"], report["due"]
    whole = count == due == told["delivered"] and report["disorder"] == told["gaps"] == 0
    print(f"events      {due} acknowledged, {count} handed over, {report['disorder']} out of order or twice")
    print(f"continuity  {told}")
    p50, p99, p999 = report["handledMs"]
    print(f"handling    {report['messages']} messages: p50 <= {p50} ms, p99 <= {p99} ms, p99.9 <= {p999} ms,", end=" ")
    print(f"longest {report['longestMs']:.1f} ms")
    # A collection that is asked for holds the page, and is this benchmark's own.
    asked = [at for at, _ in report["heap"] if at > 0]
    own = [task for task in report["longTasks"] if any(-200 < task["at"] - at < 1_000 for at in asked)]
    others = [task for task in report["longTasks"] if task not in own]
    print(f"long tasks  {len(others)} over 50 ms, and {len(own)} while the heap was being measured")
    for task in others:
        print(f"            {task['ms']:.0f} ms at {task['at'] / 1000:.1f} s, {task['by']}")
    print("heap        " + ", ".join(f"{heap:.2f}" for _, heap in report["heap"]) + " MiB after a collection")
    bounds = _latencies(np.array(report["samples"]))
    error, stated = report["clock"]["errorMs"], report["clock"]["boundMs"]
    print(f"clock       off by {error:.3f} ms, stated bound {stated:.3f} ms")
    return bool(whole and bounds and error <= stated)


def _latencies(samples: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Print the page's latencies beside the servers'; return whether no event came sooner than its bound allows."""
    page, bound, servers = samples.T
    rows = {"page": page, "servers": servers, "last mile": page - servers, "bound": bound}
    for name, values in rows.items():
        quantiles = np.quantile(values, (0.5, 0.99, 0.999))
        print(
            f"{name:<12}" + ", ".join(f"{q} {v:.2f}" for q, v in zip(("p50", "p99", "p99.9"), quantiles, strict=True))
        )
    early = int((page - servers < -bound).sum())
    print(f"            ms, of {len(page)} live events; {early} came before they were sent, beyond the bound")
    return early == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; exit with 1 where anything was lost, doubled or out of bounds."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--rate", type=int, default=1_000, help="events/s")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kills", type=int, default=3, help="times the gateway is killed")
    options = parser.parse_args(arguments)
    return 0 if show(asyncio.run(measure(options.rate, options.seconds, options.kills))) else 1


if __name__ == "__main__":
    sys.exit(main())
