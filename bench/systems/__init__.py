"""The servers the suite can measure, by name."""

from __future__ import annotations

from bench.systems.base import System

OWN = "lanecast"
PEERS = ("nats", "jetstream", "nchan", "socketio", "centrifugo")


def get(name: str) -> System:
    """Return the adapter called `name`.

    Raises:
        KeyError: there is none.
    """
    from bench.systems.centrifugo import Centrifugo
    from bench.systems.jetstream import JetStream
    from bench.systems.lanecast import Lanecast
    from bench.systems.nats import Nats
    from bench.systems.nchan import Nchan
    from bench.systems.socketio import SocketIo

    known = (Lanecast, Nats, JetStream, Nchan, SocketIo, Centrifugo)
    systems: dict[str, type[System]] = {system.name: system for system in known}
    return systems[name]()
