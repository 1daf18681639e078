"""The long run: `python -m faults`, or `lanecast bench faults`, or `make faults`.

Owns options, the progress line and the report. Ends with 1 if anything was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench.machine import facts, raise_open_files_limit
from faults import report
from faults.run import BROKEN, Outcome, Size, run
from faults.scenarios import ALL
from lanecast.core import exit_codes

_RESULTS = Path(__file__).resolve().parents[2] / "bench" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios that are asked for; return the exit code."""
    options = _parser().parse_args(arguments)
    if options.list:
        for scenario in ALL.values():
            print(f"{scenario.name:<28} {scenario.row}")
        return 0
    names = [name for given in options.only for name in given.split(",") if name] or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.stderr.write(f"there is no scenario {unknown[0]}: `--list` shows them all\n")
        return 2
    seed = options.seed if options.seed is not None else secrets.randbelow(1 << 31)
    raise_open_files_limit()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: everything is put away
    logging.basicConfig(level=logging.ERROR)  # that connections break is not news here
    outcomes: list[Outcome] = []
    for name in names:
        outcomes.append(_run_one(name, seed, options))
        print(report.line(outcomes[-1]), flush=True)
    written = report.write(outcomes, facts(), options.results)
    print(f"seed {seed}; written: {written}")
    return 1 if any(outcome.result == BROKEN for outcome in outcomes) else 0


def _run_one(name: str, seed: int, options: argparse.Namespace) -> Outcome:
    began = time.monotonic()

    def tell(text: str) -> None:
        if sys.stderr.isatty() or options.verbose:
            sys.stderr.write(f"{name}, seed {seed}, {time.monotonic() - began:5.1f} s: {text}\n")

    print(f"{name}: seed {seed}", flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(run(ALL[name], seed, tell, size=Size(options.kills, options.sessions), keep=options.keep))
    if options.json:
        print(json.dumps(asdict(outcome)), flush=True)
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lanecast bench faults", description="Break real services, and judge what came.")
    parser.add_argument("--seed", type=int, help="replays a run that printed it; default: a random one")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="scenarios, with commas")
    parser.add_argument("--kills", type=int, default=200, help="kills in the scenarios that repeat them; default 200")
    parser.add_argument("--sessions", type=int, default=1_000, help="sessions that resume at once; default 1000")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--keep", action="store_true", help="keep the services' data and output")
    parser.add_argument("--json", action="store_true", help="print each outcome as JSON")
    parser.add_argument("--verbose", action="store_true", help="print progress even where there is no terminal")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder of the report")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(exit_codes.INTERRUPTED)
