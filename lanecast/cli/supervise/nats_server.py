"""Runs a nats-server for the supervisor: `python -m lanecast.cli.supervise.nats_server CONFIG MONITOR_URL ADDRESS`.

Owns the server as its own child: says when it is ready, in the manner of our services, passes on SIGTERM, and sees that
it ends with the supervisor, however that goes. A server counts as ready when it says that all it stores is current, so
that a rolling restart never takes two of three at a time.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from shutil import which
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.1


def find_binary() -> str | None:
    """Return the path of nats-server, preferring the one beside this Python; None where there is none."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else which("nats-server")


def main(arguments: list[str]) -> int:
    """Run the server until it ends or is told to; return the exit code."""
    config, monitor_url, address = arguments
    return asyncio.run(_run(config, monitor_url, address))


async def _run(config: str, monitor_url: str, address: str) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    binary = find_binary()
    assert binary is not None, "the supervisor has looked"
    server = await asyncio.create_subprocess_exec(
        binary, "-c", config, stdin=asyncio.subprocess.DEVNULL, stdout=2, preexec_fn=_tie_to_parent
    )
    ending = asyncio.create_task(server.wait())
    telling = asyncio.create_task(_tell_ready(monitor_url, address))
    asked = [asyncio.create_task(stop.wait()), asyncio.create_task(reader.read())]
    try:
        await asyncio.wait((ending, *asked), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            folder = Path(config).parent
            sys.stderr.write(f"nats-server ended with code {ending.result()}: see {folder / 'server.log'}\n")
            return ending.result() or 1
        server.send_signal(signal.SIGTERM)
        await ending
        return 0
    finally:
        for task in (telling, *asked):
            task.cancel()
        await asyncio.gather(telling, *asked, return_exceptions=True)


async def _tell_ready(monitor_url: str, address: str) -> None:
    while True:
        if await asyncio.to_thread(_is_current, monitor_url):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    sys.stdout.write(json.dumps({"ready": "nats", "address": address, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()


def _is_current(monitor_url: str) -> bool:
    try:
        with build_opener(ProxyHandler({})).open(f"{monitor_url}/healthz", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _tie_to_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
