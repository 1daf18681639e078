"""The three NATS servers of `lanecast up --cluster-demo`: who they are and how each is configured.

Owns the text of their configuration and the addresses that publishers need. Called by `plan` and `supervise.system`;
writes no files and starts nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COUNT = 3
"""The fewest that go on when one is lost."""

HOST = "127.0.0.1"
USER = "lanecast"


@dataclass(frozen=True, slots=True)
class NatsServer:
    """One server."""

    name: str
    port: int
    route_port: int
    monitor_port: int
    folder: Path

    @property
    def config_file(self) -> Path:
        """Where its configuration is."""
        return self.folder / "server.conf"

    @property
    def monitor_url(self) -> str:
        """Where it tells of itself."""
        return f"http://{HOST}:{self.monitor_port}"


@dataclass(frozen=True, slots=True)
class NatsCluster:
    """All servers, and the password of the one user they know."""

    servers: tuple[NatsServer, ...]
    password: str

    @property
    def url(self) -> str:
        """The log that publishers are told to use."""
        return ",".join(f"nats://{USER}:{self.password}@{HOST}:{server.port}" for server in self.servers)

    def config(self, server: NatsServer) -> str:
        """Return the configuration of one server.

        `sync_interval: always`: without it a server acknowledges up to two minutes before its disk has the event.
        """
        routes = ", ".join(f'"nats://{USER}:{self.password}@{HOST}:{each.route_port}"' for each in self.servers)
        return f"""\
server_name: {server.name}
listen: "{HOST}:{server.port}"
http: "{HOST}:{server.monitor_port}"
log_file: "{server.folder / "server.log"}"
logfile_size_limit: 10MB
logfile_max_num: 2
jetstream {{ store_dir: "{server.folder / "data"}", sync_interval: always }}
authorization {{ user: "{USER}", password: "{self.password}" }}
cluster {{
  name: lanecast
  listen: "{HOST}:{server.route_port}"
  authorization {{ user: "{USER}", password: "{self.password}" }}
  routes: [{routes}]
}}
"""


def cluster(folder: Path, ports: Sequence[int], password: str) -> NatsCluster:
    """Return the cluster whose servers use `ports`, three each, and folders in `folder`."""
    servers = []
    for number in range(COUNT):
        name = f"nats-{number + 1}"
        port, route_port, monitor_port = ports[3 * number : 3 * number + 3]
        servers.append(NatsServer(name, port, route_port, monitor_port, folder / name))
    return NatsCluster(tuple(servers), password)
