"""All scenarios by name, in the order of the table in docs/reliability.md."""

from __future__ import annotations

from faults import scenarios_processes
from faults.run import Scenario

ALL: dict[str, Scenario] = {scenario.name: scenario for scenario in (*scenarios_processes.SCENARIOS,)}
