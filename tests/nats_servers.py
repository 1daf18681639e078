"""Real nats-servers for tests: alone or three in a cluster, killed by their process ids and started again."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

START_SECONDS = 20.0
USER, SYSTEM_USER = "lanecast", "system"

CONFIG = """
server_name: {name}
listen: "127.0.0.1:{port}"
ports_file_dir: "{folder}"
pid_file: "{folder}/pid"
jetstream {{ store_dir: "{folder}/data", max_file_store: {room}, sync_interval: {sync} }}
accounts {{
  $SYS {{ users: [ {{ user: {system}, password: "{password}" }} ] }}
  APP {{ jetstream: {account}, users: [ {{ user: {user}, password: "{password}" }} ] }}
}}
"""
CLUSTER = """
cluster {{ name: tests, listen: "127.0.0.1:{port}", routes: [{routes}] }}
"""


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class NatsServer:
    """One server with a folder of its own."""

    def __init__(
        self, folder: Path, *, name: str = "n1", sync: str = "always", room: str = "1GB",
        account: str = "enabled", extra: str = "",
        password: str = "",
    ) -> None:  # fmt: skip
        self.folder = folder
        self.name = name
        self.password = password or secrets.token_hex(8)
        self._options = {"sync": sync, "room": room, "account": account}
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self.port = -1

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob("*.ports"):
            old.unlink()
        config = self.folder / "server.conf"
        text = CONFIG.format(
            name=self.name, port=self.port, folder=self.folder, password=self.password, user=USER, system=SYSTEM_USER,
            **self._options,
        )  # fmt: skip
        config.write_text(text + self._extra)
        binary = Path(sys.executable).with_name("nats-server")
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen([binary, "-c", config], stdout=output, stderr=output)
        self.port = self._wait_for_port()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"nats://{USER}:{self.password}@127.0.0.1:{self.port}"

    @property
    def system_url(self) -> str:
        return f"nats://{SYSTEM_USER}:{self.password}@127.0.0.1:{self.port}"

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(START_SECONDS)

    def _wait_for_port(self) -> int:
        """Poll for the file of ports, which is there once the server listens."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        path = self.folder / f"nats-server_{self._process.pid}.ports"
        while time.monotonic() < deadline and self._process.poll() is None:
            if path.exists():
                try:
                    return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])
                except ValueError:
                    pass  # not all of it is written
            os.sched_yield()
            time.sleep(0.005)
        raise AssertionError((self.folder / "output").read_text()[-2000:])


class NatsCluster:
    """Three servers."""

    def __init__(self, folder: Path, *, sync: str = "always") -> None:
        routes = free_ports(3)
        targets = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        password = secrets.token_hex(8)
        self.servers = [
            NatsServer(
                folder / f"n{number}", name=f"n{number}", sync=sync, password=password,
                extra=CLUSTER.format(port=port, routes=targets),
            )
            for number, port in enumerate(routes, 1)
        ]  # fmt: skip

    def start(self) -> None:
        for server in self.servers:
            server.start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    @property
    def urls(self) -> str:
        return ",".join(server.url for server in self.servers)

    def named(self, name: str) -> NatsServer:
        return next(server for server in self.servers if server.name == name)
