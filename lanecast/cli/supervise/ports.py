"""Looks whether ports are free before anything is started.

Owns the probe. It binds without SO_REUSEPORT: with it, a second system would share the first one's ports in silence.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

from lanecast.errors import ConfigError, StartError


def choose_ports(host: str, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the ports by option name; a free one is chosen where 0 is wanted.

    Raises:
        ConfigError: two options name the same port, or `host` is no address of this machine.
        StartError: ports are in use or may not be bound; names all of them.
    """
    _check_distinct(wanted)
    bound: list[socket.socket] = []
    chosen: dict[str, int] = {}
    problems: list[str] = []
    try:
        for name, port in wanted.items():
            try:
                bound.append(_bind(host, port))
                chosen[name] = bound[-1].getsockname()[1]
            except PermissionError:
                problems.append(f"port {port} ({name}) needs privileges")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise ConfigError(
                        f"cannot listen on {host}: {error.strerror or error}; choose another --host"
                    ) from error
                problems.append(f"port {port} ({name}) is in use")
    finally:
        for probe in bound:
            probe.close()
    if problems:
        raise StartError(f"{'; '.join(problems)}: choose other ports, or stop what listens on {host} there")
    return chosen


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
