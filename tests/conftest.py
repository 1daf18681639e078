"""What tests share: a NATS server, and Hypothesis without deadlines, since a slow machine is no failure.

Also puts `effort` and `nats_servers` where every test finds them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from nats_servers import NatsServer

settings.register_profile("lanecast", deadline=None)
settings.load_profile("lanecast")


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One server with JetStream for the whole session: use a stream of your own name."""
    server = NatsServer(tmp_path_factory.mktemp("nats"), room="8GB")
    server.start()
    yield server
    server.stop()
