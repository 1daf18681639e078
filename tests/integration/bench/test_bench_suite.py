"""A whole suite on a real peer: processes, sockets, account, files."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path

import psutil
import pytest

from bench import scenario, suite, systems, tables

SMALL = {
    "name": "small",
    "title": "a small run",
    "sockets": 12,
    "channels": 5,
    "receivers": 2,
    "publishers": 2,
    "seconds": 0.6,
    "warmup_seconds": 0.2,
    "load": [{"events_per_second": 400, "mix": {"CRITICAL": 1, "NORMAL": 3}}],
}


@pytest.mark.parametrize("name", ["nats", "jetstream", "socketio"])
async def test_every_delivery_is_accounted_for_and_nothing_is_left_behind(name: str, tmp_path: Path) -> None:
    chosen, problems = suite.available([name])
    assert problems == []
    plan = scenario.from_dict(SMALL)

    result = await suite.run_suite(plan, chosen, 1, lambda *_: None)

    (run,) = result["runs"]
    assert run["account"]["expected"] == 320 * 12 / 5
    assert [run["account"][key] for key in ("lost", "duplicated", "unexpected", "foreign")] == [0, 0, 0, 0]
    assert run["receiver"]["received"] == run["account"]["expected"]
    assert run["generator"]["sent"] == 320
    assert set(run["windows"]["all"]) == {"CRITICAL", "NORMAL", "ALL"}
    assert run["cost"]["deliveries"] == run["windows"]["all"]["ALL"]["count"]
    assert psutil.Process().children(recursive=True) == []

    written = suite.write(result, tables.build(result), "run", tmp_path)
    assert json.loads(written.data.read_text())["runs"][0]["system"] == name
    assert written.picture.read_bytes().startswith(b"\x89PNG")
    assert "a small run" in written.page.read_text()


async def test_a_server_that_does_not_start_is_reported_with_its_last_words(tmp_path: Path) -> None:
    from bench.servers import ServerError, Servers, free_port

    servers = Servers(tmp_path)
    servers.spawn("broken", ["sh", "-c", "echo it cannot be done; exit 3"])
    with pytest.raises(ServerError, match="exit code 3: it cannot be done"):
        await servers.wait_for_port(free_port())
    await servers.stop()


async def test_a_benchmark_that_is_terminated_ends_its_servers() -> None:
    command = [sys.executable, "-m", "lanecast.cli", "bench", "run", "first", "--peers", "none"]
    bench = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    started: list[psutil.Process] = []
    while not any("gateway_svc" in _command(child) for child in started):
        assert bench.returncode is None
        started = psutil.Process(bench.pid).children(recursive=True)
        await asyncio.sleep(0.02)
    bench.terminate()
    assert await bench.wait() != 0
    _, alive = await asyncio.to_thread(psutil.wait_procs, started, 20)
    assert alive == []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_the_own_system_and_all_peers_can_be_asked_for() -> None:
    found, problems = suite.available([systems.OWN, *systems.PEERS])
    assert len(found) + len(problems) == 1 + len(systems.PEERS)
