"""Whether metrics_svc says the truth: its figures beside those of an observer at the sender and at the receiver.

Run by hand: `python -m bench.agreement`. One run of Lanecast under a scenario; `bench.witness` receives. Compared are,
over all events of the run and by lane:

- `end to end`: the SDK's stamp at its write to the stream, until the receiver read the event. Reported through
  receipts, OTLP and the windows of metrics_svc; observed by the witness for every event, with exact quantiles.
- `server`: the publisher's stamp of acceptance, until the write of the frame returned. The start is the publisher's in
  both: from outside acceptance cannot be seen. Observed is when the kernel gave the frame to the receiver's socket. On
  one machine that happens within the call of the sender, who comes back a little later: that little is measured beside
  the run, on a connection of its own, and its median added. Of frames that are read together the kernel tells only the
  last one's time: an observer that is behind makes this too long.
- `hops, mean`: the means of the seven hops up to the socket write, added up, beside the mean time from the hand-over to
  the SDK, by the generator's clock, until the kernel had the frame. Quantiles of hops cannot be added up; means can.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import floor, machine, scenario
from bench.children import Child
from bench.run import START_DELAY_NS
from bench.servers import HOST, Servers
from bench.systems.lanecast import Lanecast
from lanecast.core.priority import LANES

TOLERANCE = 0.05
_QUIET_SECONDS = 1.0
_SETTLE_SECONDS = 2.5
"""From the last receipt until it has been exported, once a second, and counted."""
_HOPS = ("sdk_queue", "ingest", "log", "lane_wait", "transit", "edge_wait", "socket_write")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure from both sides, in milliseconds."""

    lane: str
    figure: str
    events: int
    """Reported."""
    observed_events: int
    observed_ms: float
    reported_ms: float

    @property
    def difference(self) -> float:
        """Share by which the reported figure is above the observed one."""
        return self.reported_ms / self.observed_ms - 1 if self.observed_ms else 0.0


def compare(seen: dict[str, NDArray[np.int64]], reported: dict[str, Any], return_ns: int = 0) -> Iterator[Row]:
    """Yield all comparisons of a run.

    Args:
        seen: The arrays of the witness.
        reported: What `Lanecast.report` returned.
        return_ns: From the kernel's receive stamp until the write that caused it returns.
    """
    for lane in LANES:
        mine = seen["lane"] == lane.value
        if not mine.any():
            continue
        pairs = (("end to end", "end_to_end", "send", "read", 0), ("server", "server", "accept", "kernel", return_ns))
        for title, scope, start, end, later in pairs:
            figure = reported.get(scope, {}).get(lane.name)
            if figure is None or not figure["count"]:
                continue
            compared = mine & (seen["reporting"] > 0) if end == "read" else mine
            taken = np.sort(seen[end][compared] - seen[start][compared]) + later
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                # Nearest rank, as `Sketch.quantile`.
                observed = float(taken[max(1, int(np.ceil(share * len(taken)))) - 1]) / 1e6
                yield Row(lane.name, f"{title}, {name}", figure["count"], len(taken), observed, figure[f"{name}_ms"])
        hops = [reported["hops"].get(hop, {}).get(lane.name) for hop in _HOPS]
        if all(hops):
            whole = float((seen["kernel"][mine] - seen["handed"][mine]).mean() + return_ns) / 1e6
            total = sum(hop["mean_ms"] for hop in hops)
            yield Row(lane.name, "hops, mean", hops[0]["count"], int(mine.sum()), whole, total)


def out_of_order(seen: dict[str, NDArray[np.int64]]) -> int:
    """Return how many events have stamps that are not in the order of their way."""
    way = ("handed", "create", "send", "accept", "kernel", "read")
    # The hand-over is known to a microsecond, and rounded down.
    return int(sum((seen[after] < seen[before]).sum() for before, after in pairwise(way)))


_ECHO = """
import socket, sys
from bench.witness import kernel_time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.setsockopt(socket.SOL_SOCKET, 35, 1)
while True:
    data, ancillary, _, _ = connection.recvmsg(4096, 64)
    if not data:
        break
    connection.sendall(kernel_time(ancillary, 0).to_bytes(8))
"""


def write_return_ns(writes: int, pause_seconds: float) -> int:
    """Return the median time from the kernel's receive stamp until the sender's call returns."""
    found: list[int] = []
    with socket.create_server((HOST, 0)) as server:
        echo = subprocess.Popen([sys.executable, "-c", _ECHO, str(server.getsockname()[1])])
        connection, _ = server.accept()
        with connection:
            connection.settimeout(10)
            for _ in range(writes):
                connection.send(bytes(500))
                returned = time.time_ns()
                found.append(returned - int.from_bytes(connection.recv(8, socket.MSG_WAITALL)))
                time.sleep(pause_seconds)
        echo.wait(10)
    return int(median(found))


async def run(chosen: scenario.Scenario, reporting: int, directory: Path) -> dict[str, Any]:
    """Run once and return the comparison as plain data."""
    system, servers = Lanecast(), Servers(directory)
    children: list[Child] = []
    try:
        endpoints = await system.start(chosen, directory, servers)
        common = {"system": system.name, "scenario": chosen.as_dict(), "endpoints": endpoints.as_dict()}
        seen_file = directory / "witness.npz"
        order = common | {"sockets": list(range(chosen.sockets)), "reporting": reporting, "result": str(seen_file)}
        witness = await Child.spawn("bench.witness", order)
        children.append(witness)
        await witness.ready()
        order = common | {"publisher": 0, "result": str(directory / "generator.npz")}
        generator = await Child.spawn("bench.generator", order)
        children.append(generator)
        await generator.ready()
        begin, start_ns = machine.cpu_times(), time.time_ns() + START_DELAY_NS
        for child in children:
            child.tell(f"start {start_ns}")
        returns = asyncio.to_thread(write_return_ns, int(chosen.total_seconds * 10), 0.1)
        return_ns, sent = await asyncio.gather(returns, generator.result())
        busy = machine.shares(begin, machine.cpu_times())
        await _drained(witness)
        witness.tell("report")
        await asyncio.sleep(_SETTLE_SECONDS)
        reported = await system.report(endpoints, (time.time_ns() - start_ns) / 1e9 + 2)
        witness.tell("stop")
        result = await witness.result()  # it parses what it kept only now
    finally:
        for child in children:
            await child.close()
        await servers.stop()
    seen = dict(np.load(seen_file))
    rows = list(compare(seen, reported, return_ns))
    return {
        "sent": sent["sent"],
        "received": len(seen["lane"]),
        "receipts": result["statistics"].get("receipts", 0),
        "read_together": result["statistics"].get("read_together", 0),
        "out_of_order": out_of_order(seen),
        "write_return_ns": return_ns,
        "machine": busy,
        "rows": [asdict(row) | {"difference": row.difference} for row in rows],
        "agrees": bool(rows) and all(abs(row.difference) <= TOLERANCE for row in rows),
    }


async def _drained(witness: Child) -> None:
    last, since = -1, time.monotonic()
    while time.monotonic() - since < _QUIET_SECONDS:
        received = witness.progress.get("received", 0)
        if received != last:
            last, since = received, time.monotonic()
        await asyncio.sleep(0.1)


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"{'lane':<9} {'figure':<16} {'events':>8} {'observed ms':>12} {'reported ms':>12} {'apart':>8}"
    for row in rows:
        mark = "" if abs(row["difference"]) <= TOLERANCE else "  <-"
        events = f"{row['events']:,}"
        times = f"{row['observed_ms']:>12.3f} {row['reported_ms']:>12.3f}"
        yield f"{row['lane']:<9} {row['figure']:<16} {events:>8} {times} {row['difference']:>+8.1%}{mark}"


def main() -> None:
    """Run and print; exit code 1 where a figure is more than 5 % apart."""
    parser = argparse.ArgumentParser(prog="python -m bench.agreement", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenario", default="agreement")
    parser.add_argument("--seconds", type=float, help="measured time; the scenario's own by default")
    parser.add_argument("--reporting", type=int, default=200, help="sockets that send receipts")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write everything as well")
    options = parser.parse_args()
    chosen = scenario.load(options.scenario)
    if options.seconds:
        chosen = replace(chosen, seconds=options.seconds)
    machine.raise_open_files_limit()
    runs = []
    for number in range(1, options.repeat + 1):
        rest = floor.measure(1_000.0, 0.5).round_trip
        with tempfile.TemporaryDirectory(prefix="lanecast-agreement-") as folder:
            found = asyncio.run(run(chosen, options.reporting, Path(folder)))
        runs.append(found)
        head = (
            f"run {number}: sent {found['sent']:,}, received {found['received']:,}, receipts {found['receipts']:,}, "
            f"stamps out of order {found['out_of_order']}, frames read with a later one {found['read_together']:,}, "
            f"a write returns after {found['write_return_ns'] / 1e3:.0f} µs, floor p99 {rest.p99_ms:.2f} ms, "
            f"steal {found['machine']['steal'] or 0:.1%}"
        )
        sys.stdout.write("\n".join([head, *table(found["rows"]), ""]) + "\n")
        sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1) + "\n")
    sys.exit(0 if all(found["agrees"] for found in runs) else 1)


if __name__ == "__main__":
    main()
