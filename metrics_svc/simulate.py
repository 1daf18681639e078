"""Counts how often rollouts are wrong: `python -m metrics_svc.simulate`, or `lanecast rollout simulate`.

Owns the options, the runs and the table. The world and the engine are `core.rollout.simulate`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from metrics_svc.core.rollout import statistics
from metrics_svc.core.rollout.model import State, Verdict
from metrics_svc.core.rollout.simulate import Outcome, Simulation, World, plan_of_looks

_BACK = (State.ROLLING_BACK, State.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Row:
    """All runs of one kind of candidate."""

    name: str
    runs: int
    rolled_back: int
    passed: int
    """Runs in which any look said PASS."""
    advanced: int
    """Runs that went beyond the first stage."""
    median_looks: int
    """Looks until the way back began, of the runs that did; 0 where none did."""
    simulated_seconds: float
    real_seconds: float


def run_many(name: str, world: World, runs: int, looks: int, seed: int) -> Row:
    """Simulate a world that many times."""
    began = time.perf_counter()
    outcomes = [Simulation(world, plan_of_looks(looks), seed + number).run(looks) for number in range(runs)]
    spent = time.perf_counter() - began
    back = sorted(outcome.looks for outcome in outcomes if outcome.state in _BACK)
    return Row(
        name,
        runs,
        len(back),
        sum(Verdict.PASS in outcome.verdicts for outcome in outcomes),
        sum(_advanced(outcome) for outcome in outcomes),
        back[len(back) // 2] if back else 0,
        sum(outcome.seconds for outcome in outcomes),
        spent,
    )


def _advanced(outcome: Outcome) -> bool:
    return outcome.highest > 1_000


def worlds(base: World, effects: Sequence[float]) -> list[tuple[str, World]]:
    """Return the candidates that are tried: slower ones, then other kinds of harm."""
    slower = [(f"slowest tenth {effect:+.0%}", replace(base, tail_effect=effect)) for effect in effects]
    return [
        *slower,
        ("half of the last lane never comes", replace(base, delivered_share=0.5)),
        ("loses one event a look", replace(base, lost_events=1)),
        ("slows both arms twofold", replace(base, both_effect=1.0)),
        ("no traffic at all", replace(base, rate=0.0)),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    base = World(
        channels=options.channels, rate=options.rate, between_channels=options.between_channels,
        heavy_tailed=options.heavy_tailed,
    )  # fmt: skip
    rows = []
    tried = worlds(base, options.effects)
    for name, world in tried[: len(options.effects)] if options.only_effects else tried:
        rows.append(run_many(name, world, options.runs, options.looks, options.seed))
        sys.stdout.write(_line(rows[-1], as_json=options.json) + "\n")
        sys.stdout.flush()
    if not options.json:
        speed = sum(row.simulated_seconds for row in rows) / sum(row.real_seconds for row in rows)
        sys.stdout.write(
            f"{options.looks} looks of 5 s at 10 %, {options.channels} channels, {speed:,.0f} times real speed\n"
        )
    return 0


def _line(row: Row, *, as_json: bool) -> str:
    if as_json:
        data: dict[str, Any] = {name: getattr(row, name) for name in Row.__dataclass_fields__}
        return json.dumps(data)
    looks = f"after {row.median_looks} looks" if row.rolled_back else ""
    share = statistics.wilson(row.rolled_back, row.runs, 0.95)
    between = f"{share.value:.1%}, {share.low:.1%} to {share.high:.1%}"
    return (
        f"{row.name:36} rolled back {row.rolled_back:4} of {row.runs} ({between}) {looks:16} advanced {row.advanced}"
        f"  any PASS {row.passed}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lanecast rollout simulate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="runs of each candidate (default 200)")
    parser.add_argument("--looks", type=int, default=20, help="looks at 10 %% (default 20)")
    parser.add_argument("--channels", type=int, default=600, help="active channels (default 600)")
    parser.add_argument("--rate", type=float, default=2.0, help="events/s of a channel and lane (default 2)")
    parser.add_argument(
        "--between-channels", type=float, default=0.08, help="how much channels differ for good (default 0.08)"
    )
    effects = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5]
    parser.add_argument("--effects", type=float, nargs="*", default=effects, help="tail effects to try, 0.3 for +30 %%")
    parser.add_argument("--only-effects", action="store_true", help="try no other kinds of harm")
    parser.add_argument("--heavy-tailed", action="store_true", help="noise of Student's distribution, not normal")
    parser.add_argument("--seed", type=int, default=1, help="of the first run (default 1)")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
