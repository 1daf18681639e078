"""What a run of the fault suite is told as: a line, a Markdown table, JSON.

Owns wording and files. Called by `__main__`. Pure, except `write`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from faults.run import Outcome


def line(outcome: Outcome) -> str:
    """Return an outcome in a line, and its problems in lines below."""
    head = f"{outcome.name}: {outcome.result} in {outcome.seconds:.0f} s{_recovered(outcome)}"
    return "\n".join([head, *(f"    {problem}" for problem in outcome.problems)])


def markdown(outcomes: Sequence[Outcome], machine: Mapping[str, Any]) -> str:
    """Return the report as a page."""
    rows = [
        f"| {outcome.row} | `lanecast bench faults --only {outcome.name} --seed {outcome.seed}` | {outcome.must} |"
        f" {outcome.result} | {_recovered(outcome).removeprefix('; ') or '-'} |"
        for outcome in outcomes
    ]
    found = [
        f"### {outcome.name}\n\n" + "\n".join(f"- {each}" for each in outcome.problems) + "\n"
        for outcome in outcomes
        if outcome.problems
    ]
    place = ", ".join(str(machine.get(name)) for name in ("cpu", "cores", "kernel", "python"))
    head = ["# Faults", "", f"Machine (processor, cores, kernel, Python): {place}", ""]
    head += ["| fault | command | must be true | result | time to recover |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, "", *(["## What was found", "", *found] if found else [])])


def write(outcomes: Sequence[Outcome], machine: Mapping[str, Any], folder: Path) -> str:
    """Write the report as Markdown and JSON; return the name of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"faults-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    (folder / f"{name}.md").write_text(markdown(outcomes, machine))
    plain = {"machine": dict(machine), "outcomes": [asdict(outcome) for outcome in outcomes]}
    (folder / f"{name}.json").write_text(json.dumps(plain, indent=1))
    return str(folder / f"{name}.md")


def _recovered(outcome: Outcome) -> str:
    parts = [
        f"{what} {median(times):.2f} s (longest {max(times):.2f} s of {len(times)})"
        for what, times in outcome.recoveries.items()
        if times
    ]
    return "; " + ", ".join(parts) if parts else ""
