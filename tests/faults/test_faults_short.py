"""A handful of faults against real services: what `make test` runs. `make faults` runs all of them, for longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faults.run import HELD, Scenario, Size, run
from faults.scenarios_network import cutting
from faults.scenarios_processes import kill_gateways, kill_publisher, pausing
from faults.scenarios_resources import disk_full_by_limit
from faults.stack import Plan

SEED = 20_240
_SMALL = Plan(
    events_per_second=300, subscribers=10, channels=3, producers=1, gateways=1, restless_seconds=2,
    gateway={"LANECAST_GATEWAY_DRAIN_SECONDS": "0.2"}, publisher={"LANECAST_PUBLISHER_DRAIN_SECONDS": "0.2"},
)  # fmt: skip
_PATIENT = 30.0
"""How fast services recover is measured by the long run; here a machine may be busy with other tests."""

SHORT = {
    "publisher killed": Scenario("publisher-killed", "", "", kill_publisher, _SMALL, _PATIENT, _PATIENT),
    "gateway killed": Scenario("gateway-killed", "", "", kill_gateways, _SMALL, _PATIENT, _PATIENT),
    "publisher paused": Scenario("publisher-paused", "", "", pausing("publisher", 1.0), _SMALL, _PATIENT, _PATIENT),
    "disk full": Scenario("disk-limit", "", "", disk_full_by_limit, _SMALL, _PATIENT, _PATIENT),
    "connections cut": Scenario(
        "client-cuts", "", "", cutting("client", 5), replace(_SMALL, proxied=frozenset({"client"})), _PATIENT, _PATIENT
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
async def test_what_is_acknowledged_is_delivered_once_and_in_order(name: str) -> None:
    outcome = await run(SHORT[name], SEED, size=Size(kills=5 if name == "publisher killed" else 2))
    assert outcome.result == HELD, f"seed {outcome.seed}: {outcome.problems}"
    assert outcome.figures["acknowledged"] > 0
    assert outcome.figures["delivered"] > outcome.figures["acknowledged"]
