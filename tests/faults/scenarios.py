"""All scenarios by name, in the order of the table in docs/reliability.md."""

from __future__ import annotations

from faults import scenarios_jetstream, scenarios_network, scenarios_processes, scenarios_resources
from faults.run import Scenario

_LISTS = (
    scenarios_processes.SCENARIOS,
    scenarios_network.SCENARIOS,
    scenarios_resources.SCENARIOS,
    scenarios_jetstream.SCENARIOS,
)
ALL: dict[str, Scenario] = {scenario.name: scenario for scenarios in _LISTS for scenario in scenarios}
