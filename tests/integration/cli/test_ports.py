"""The ports of a system are nobody else's from the moment they are chosen."""

from __future__ import annotations

import socket

import pytest

from gateway_svc.edge import _listen
from lanecast.cli.supervise.ports import held_ports
from lanecast.runtime.grpc_server import GrpcServer

HOST = "127.0.0.1"
WANTED = {"--publisher-port": 0, "--gateway-port": 0}


def test_a_port_that_was_chosen_is_given_to_nobody_who_asks_for_a_free_one() -> None:
    with held_ports(HOST, WANTED) as ports:
        for port in ports.values():
            # Without SO_REUSEADDR: as the system judges whether it may choose a port for somebody.
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind((HOST, port))
        with held_ports(HOST, WANTED) as others:
            assert not set(ports.values()) & set(others.values())


async def test_a_service_listens_at_a_port_that_is_held_and_again_after_a_restart() -> None:
    with held_ports(HOST, WANTED) as ports:
        for _ in range(2):
            server = GrpcServer()
            assert await server.start(HOST, ports["--publisher-port"]) == ports["--publisher-port"]
            one, two = (_listen(HOST, ports["--gateway-port"], reuse_port=True) for _ in range(2))
            one.close()
            two.close()
            _listen(HOST, ports["--gateway-port"], reuse_port=False).close()
            await server.stop(0)
