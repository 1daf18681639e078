"""The ports of a system: looked for before anything is started, and held for as long as it runs.

Owns the probe. It binds without SO_REUSEPORT: with it, a second system would share the first one's ports in silence.
What it has bound it keeps, without listening: Linux then gives the port neither to an outgoing connection nor to anyone
who asks for a free one, while a service, which sets SO_REUSEADDR as the probe does, may listen there, and again after a
restart. Other systems would not let the service in: there the port is free, and may be taken, until it listens.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from lanecast.errors import ConfigError, StartError


@contextmanager
def held_ports(host: str, wanted: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Give the ports by option name, a free one where 0 is wanted, and hold them.

    Raises:
        ConfigError: two options name the same port, or `host` is no address of this machine.
        StartError: ports are in use or may not be bound; names all of them.
    """
    _check_distinct(wanted)
    chosen: dict[str, int] = {}
    problems: list[str] = []
    with ExitStack() as bound:
        for name, port in wanted.items():
            try:
                probe = bound.enter_context(_bind(host, port))
                chosen[name] = probe.getsockname()[1]
            except PermissionError:
                problems.append(f"port {port} ({name}) needs privileges")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise ConfigError(
                        f"cannot listen on {host}: {error.strerror or error}; choose another --host"
                    ) from error
                problems.append(f"port {port} ({name}) is in use")
        if problems:
            raise StartError(f"{'; '.join(problems)}: choose other ports, or stop what listens on {host} there")
        if sys.platform != "linux":
            bound.close()
        yield chosen


def _check_distinct(wanted: Mapping[str, int]) -> None:
    seen: dict[int, str] = {}
    for name, port in wanted.items():
        if port and port in seen:
            raise ConfigError(f"{seen[port]} and {name} are both {port}: give each its own port")
        seen[port] = name


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    probe = socket.socket(family, kind, protocol)
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free to the services
        probe.bind(place)
    except OSError:
        probe.close()
        raise
    return probe
