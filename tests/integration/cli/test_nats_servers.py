"""The NATS servers of the cluster demo, as the supervisor runs them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanecast.cli.core import nats
from lanecast.cli.core.plan import Launch, SystemSettings, plan_system
from lanecast.cli.core.supervisor import SupervisorPolicy
from lanecast.cli.supervise.loop import SupervisorLoop
from lanecast.cli.supervise.nats_server import _is_current
from lanecast.cli.supervise.ports import held_ports
from lanecast.cli.supervise.system import _prepare_nats
from lanecast.core import exit_codes


class Watcher:
    """A reporter that only knows who is ready."""

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.all = asyncio.Event()

    def ready(self, launch: Launch, pid: int, facts: dict[str, Any]) -> None:
        self.pids.append(pid)

    def all_ready(self, ready: Sequence[Any]) -> None:
        self.all.set()

    def _ignore(self, *_: object) -> None:
        return

    line = died = gave_up = killed = stopping = rolling = rolled = _ignore


async def test_three_servers_form_a_cluster_survive_a_kill_and_end_with_the_supervisor(tmp_path: Path) -> None:
    names = [str(number) for number in range(3 * nats.COUNT)]
    with held_ports(nats.HOST, dict.fromkeys(names, 0)) as ports:
        cluster = _prepare_nats(tmp_path, list(ports.values()))
        assert oct(cluster.servers[0].config_file.stat().st_mode & 0o777) == "0o600"
        launches = [
            each for each in plan_system(SystemSettings(tmp_path, nats=cluster.servers)) if each.service == "nats"
        ]
        watcher = Watcher()
        loop = SupervisorLoop(launches, watcher, SupervisorPolicy(start_seconds=50.0))
        running = asyncio.create_task(loop.run())
        await watcher.all.wait()
        assert len(watcher.pids) == nats.COUNT

        watcher.all.clear()
        os.kill(watcher.pids[0], signal.SIGKILL)  # what runs the server; the server ends with it
        await watcher.all.wait()

        for server in cluster.servers:
            assert await asyncio.to_thread(_is_current, server.monitor_url)
        loop.stop()
        assert await running == exit_codes.OK
        for server in cluster.servers:
            assert not await asyncio.to_thread(_is_current, server.monitor_url)
