"""What a message of a gRPC stream costs: grpcio's asyncio, our own transport, and plain sockets as the floor.

`python -m bench.transport`: one process sends messages at a steady rate to another on this machine. Processor time of
each side for a message, less what the same sender costs that sends nothing, and the time from before the write until
the reader has the message. Systems in turns; medians of the runs with their range.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import grpc
import uvloop

from lanecast.runtime.wire.channel import WireChannel
from lanecast.runtime.wire.server import WireServer

SYSTEMS = ("grpcio", "own", "sockets", "nothing")
_METHOD = "/bench.Transport/Send"
_STAMP = struct.Struct("<Q")
_SWITCH_SECONDS = 0.0005  # as the services set it, see lanecast.runtime.tuning
_WARM = 0.2
"""Share of the messages that come before what is measured."""

Write = Callable[[bytes], Awaitable[Any]]


class Meter:
    """The receiving side's account."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._warm = int(count * _WARM)
        self._seen = 0
        self._began = 0.0
        self._delays: list[int] = []
        self.done = asyncio.Event()

    def take(self, message: bytes) -> None:
        """Take a message, which begins with the time of its sending."""
        now = time.time_ns()
        self._seen += 1
        if self._seen == self._warm:
            self._began = time.process_time()
        elif self._seen > self._warm:
            self._delays.append(now - _STAMP.unpack_from(message)[0])
        if self._seen == self._count:
            self.done.set()

    def result(self) -> dict[str, float]:
        """Return µs of processor time for a message, and p50 and p99 of its way in ms."""
        delays = sorted(self._delays)
        used = (time.process_time() - self._began) / len(delays) * 1e6
        return {"us": used, "p50": delays[len(delays) // 2] / 1e6, "p99": delays[int(len(delays) * 0.99)] / 1e6}


class _Plain(asyncio.Protocol):
    """The receiving end of a plain socket; every message has the same size."""

    def __init__(self, meter: Meter, size: int) -> None:
        self._meter, self._size, self._rest = meter, size, b""

    def data_received(self, data: bytes) -> None:
        """Cut messages out of what has come."""
        data = self._rest + data
        while len(data) >= self._size:
            self._meter.take(data[: self._size])
            data = data[self._size :]
        self._rest = data


def receive(system: str, count: int, size: int, pipe: Connection) -> None:
    """Run the receiving process."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    uvloop.run(_receive(system, Meter(count), size, pipe))


async def _receive(system: str, meter: Meter, size: int, pipe: Connection) -> None:
    async def handle(requests: AsyncIterator[bytes], _context: Any) -> None:
        async for message in requests:
            meter.take(message)

    handlers = {"Send": grpc.stream_stream_rpc_method_handler(handle)}
    generic = (grpc.method_handlers_generic_handler("bench.Transport", handlers),)
    server: Any
    if system == "grpcio":
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(generic)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
    elif system == "own":
        server = WireServer()
        server.add_generic_rpc_handlers(generic)
        port = await server.listen("127.0.0.1", 0)
    else:
        server = await asyncio.get_running_loop().create_server(lambda: _Plain(meter, size), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
    pipe.send(port)
    if system != "nothing":
        await meter.done.wait()
        pipe.send(meter.result())
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)  # the sender is done as well
    if system in ("grpcio", "own"):
        await server.stop(0)


async def send(system: str, port: int, count: int, size: int, rate: float) -> float:
    """Send the messages on time; return the µs of processor time for one."""
    target = f"127.0.0.1:{port}"
    write: Write
    closing: Any = None
    if system in ("grpcio", "own"):
        closing = grpc.aio.insecure_channel(target) if system == "grpcio" else WireChannel(target)
        call = closing.stream_stream(_METHOD)()
        write = call.write
    else:
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)

        async def write(data: bytes) -> None:
            if system == "sockets":
                transport.write(data)

    filler = b"x" * (size - _STAMP.size)
    warm, began = int(count * _WARM), 0.0
    due = time.perf_counter()
    for number in range(1, count + 1):
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await write(_STAMP.pack(time.time_ns()) + filler)
        if number == warm:
            began = time.process_time()
    used = (time.process_time() - began) / (count - warm) * 1e6
    if closing is not None:
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
        await closing.close()
    return used


def run(system: str, count: int, size: int, rate: float) -> dict[str, float]:
    """Measure one system once."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=receive, args=(system, count, size, theirs))
    process.start()
    try:
        port = ours.recv()
        sent = uvloop.run(send(system, port, count, size, rate))
        received = ours.recv() if system != "nothing" else {"us": 0.0, "p50": 0.0, "p99": 0.0}
        ours.send("done")
        process.join(10)
    finally:
        process.kill()
    return {"sender_us": sent, "receiver_us": received["us"], "p50_ms": received["p50"], "p99_ms": received["p99"]}


def main() -> None:
    """Run all systems in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each system")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a run")
    parser.add_argument("--rate", type=float, default=800.0, help="messages a second")
    parser.add_argument("--size", type=int, default=4_500, help="bytes of a message: about twelve events")
    parser.add_argument("--json", action="store_true", help="print every run as JSON")
    options = parser.parse_args()
    count = int(options.seconds * options.rate)
    runs: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    for _ in range(options.repeat):
        for system in SYSTEMS:
            runs[system].append(run(system, count, options.size, options.rate))
            if options.json:
                print(json.dumps({"system": system, **runs[system][-1]}), flush=True)
    idle = median(each["sender_us"] for each in runs["nothing"])
    print(f"{'':8}  {'sender µs':>20}  {'receiver µs':>20}  {'way p50 ms':>22}  {'way p99 ms':>22}")
    for system in SYSTEMS[:-1]:
        rows = runs[system]
        cells = [
            _span([each["sender_us"] - idle for each in rows], 0),
            _span([each["receiver_us"] for each in rows], 0),
        ]
        cells += [_span([each[key] for each in rows], 3) for key in ("p50_ms", "p99_ms")]
        print(f"{system:8}  " + "  ".join(f"{cell:>20}" for cell in cells))


def _span(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
