"""`lanecast bench`: measures Lanecast and its peers on this machine, in turns.

Owns the options and what is printed. The work is in the package `bench`, which only a checkout has; it is imported when
a command runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lanecast.cli import options
from lanecast.cli.output import write_json, write_line, write_note
from lanecast.core import exit_codes
from lanecast.errors import ConfigError, LanecastError

if TYPE_CHECKING:
    from bench.scenario import Scenario
    from bench.suite import Tick, Written
    from bench.systems.base import System
    from bench.tables import Table

EPILOG = """\b
Examples:
  lanecast bench list
  lanecast bench run headline --peers nats,nchan --repeat 3
  lanecast bench run first --peers none --seconds 5
  lanecast bench sweep fanout-100k --p99 10ms
  lanecast bench soak --seconds 900
  lanecast bench faults --only publisher-killed --kills 20"""


@click.group("bench", epilog=EPILOG)
def command() -> None:
    """Measure Lanecast and other servers in turns: latency, losses, cost (needs a checkout)."""
    _require_checkout()
    # As Ctrl-C: the servers are processes of their own, which would stay behind.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def _require_checkout() -> None:
    from importlib.util import find_spec

    if find_spec("bench") is None or find_spec("bench.scenario") is None:
        raise ConfigError(
            "lanecast bench is part of the repository, not of the installed package: "
            "clone the repository, run `make install` there, and call it from its folder"
        )
    absent = [name for name in ("psutil", "matplotlib", "numpy") if find_spec(name) is None]
    if absent:
        raise ConfigError(f"lanecast bench needs {', '.join(absent)}: run `pip install --group bench`")


def _load_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, kind, text in (
        ("--receivers", click.IntRange(1), "Receiver processes."),
        ("--publishers", click.IntRange(1), "Publisher processes."),
        ("--gateways", click.IntRange(1), "Gateway processes of Lanecast."),
        ("--sockets", click.IntRange(1), "WebSockets."),
        ("--seconds", click.FloatRange(min=0, min_open=True), "Measured time of each run."),
    ):
        function = click.option(name, type=kind, help=f"{text} [default: the scenario's]")(function)
    function = click.option(
        "--telemetry",
        type=click.Choice(["off", "on", "sampled-1", "sampled-100"]),
        help="Telemetry of Lanecast: none, with a collector, or with traces of so many per cent of the events as well.",
    )(function)
    function = click.option(
        "--scheduling",
        type=click.Choice(["realtime", "normal"]),
        callback=_schedule,
        expose_value=False,
        help="How all servers, senders and receivers are scheduled. [default: realtime where that is permitted]",
    )(function)
    function = click.option(
        "--lanecast/--no-lanecast", "own", default=True, help="Measure Lanecast itself.", show_default=True
    )(function)
    return click.option(
        "--peers", default="all", show_default=True, help="Other servers, with commas; all of those installed, or none."
    )(function)


def _schedule(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    """Tell every process of the run, which reads its configuration from the environment."""
    if value is not None:
        os.environ["LANECAST_PROCESS_SCHEDULING"] = value


def _changed(name: str, changes: dict[str, Any]) -> Scenario:
    from bench import scenario

    found = scenario.load(name)
    wanted = {key: value for key, value in changes.items() if value is not None}
    if "sockets" in wanted and wanted["sockets"] < found.channels:
        wanted["channels"] = wanted["sockets"]
    return replace(found, **wanted)


def _systems(peers: str, *, own: bool) -> list[System]:
    from bench import suite, systems

    asked = [] if peers == "none" else [name.strip() for name in peers.split(",") if name.strip()]
    wanted = list(systems.PEERS) if asked == ["all"] else asked
    unknown = [name for name in wanted if name not in systems.PEERS]
    if unknown:
        raise ConfigError(f"unknown peer {unknown[0]}: use {', '.join(systems.PEERS)}, all or none")
    found, problems = suite.available([systems.OWN, *wanted] if own else wanted)
    for problem in problems:
        write_note(problem)
    if not found:
        raise ConfigError("there is nothing to measure: install a peer or leave --no-lanecast out")
    return found


@contextlib.contextmanager
def _progress() -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.fields[label]}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=1.0, label="")

        def tick(label: str, share: float, text: str) -> None:
            bars.update(task, completed=share, description=text, label=label)

        yield tick


def _translated(work: Callable[[], int]) -> int:
    from bench.children import ChildError
    from bench.scenario import ScenarioError
    from bench.servers import ServerError

    try:
        return work()
    except ScenarioError as error:
        raise ConfigError(str(error)) from error
    except (ChildError, ServerError) as error:
        raise LanecastError(f"the run was given up: {error}") from error


def _show(shown: Sequence[Table], written: Written, *, as_json: bool) -> None:
    from bench import render, suite

    if as_json:
        write_json(suite.written_as_dict(written))
        return
    render.to_console(shown)
    write_line(f"written: {written.data}, {written.page.name}, {written.picture.name}")


@command.command("faults", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def faults_command(arguments: tuple[str, ...]) -> int:
    """Break real services by a seed, and judge what came through; `--help` shows its options.

    Writes a page and JSON to bench/results/. Ends with 1 if anything acknowledged was lost, doubled or out of order.
    """
    import os
    import subprocess
    import sys

    import bench

    root = Path(next(iter(bench.__path__))).parent
    if not (root / "tests" / "faults").is_dir():
        raise ConfigError(f"{root} has no tests/faults: call it from a checkout")
    paths = os.pathsep.join(filter(None, (str(root / "tests"), os.environ.get("PYTHONPATH"))))
    environ = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-m", "faults", *arguments], env=environ, check=False)  # noqa: S603 - ours
    return done.returncode


@command.command("list")
def list_command() -> int:
    """List the scenarios and the peers."""
    from bench import scenario, systems

    for name in scenario.names():
        write_line(f"{name:<14} {scenario.load(name).title}")
    write_line("")
    for name in (systems.OWN, *systems.PEERS):
        system = systems.get(name)
        write_line(f"{name:<14} {system.missing() or system.version()}")
    return exit_codes.OK


@command.command("run")
@click.argument("name", metavar="SCENARIO")
@_load_options
@click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of each system.")
@options.json_option
def run_command(name: str, peers: str, own: bool, repeat: int, as_json: bool, **changes: Any) -> int:
    """Run a scenario on Lanecast and on the peers in turns; print medians and ratios.

    Writes the raw result as JSON, a page and a plot to bench/results/. Ends with 1 if Lanecast lost or doubled any.
    """
    return _translated(lambda: _run(name, peers, own, repeat, as_json, changes))


def _run(name: str, peers: str, own: bool, repeat: int, as_json: bool, changes: dict[str, Any]) -> int:
    from bench import suite, systems, tables

    scenario = _changed(name, changes)
    chosen = _systems(peers, own=own)
    with _progress() as tick:
        result = asyncio.run(suite.run_suite(scenario, chosen, repeat, tick))
    shown = tables.build(result)
    _show(shown, suite.write(result, shown, "run"), as_json=as_json)
    mine = [run["account"] for run in result["runs"] if run["system"] == systems.OWN]
    clean = not any(account["lost"] or account["duplicated"] for account in mine)
    return exit_codes.OK if clean else exit_codes.FAILED


@command.command("sweep")
@click.argument("name", metavar="SCENARIO")
@_load_options
@click.option("--p99", default="10ms", callback=options.to_seconds, show_default=True, help="Highest p99 allowed.")
@options.json_option
def sweep_command(name: str, peers: str, own: bool, p99: float, as_json: bool, **changes: Any) -> int:
    """Find the highest deliveries/s of each system at a given p99, with nothing lost."""
    return _translated(lambda: _sweep(name, peers, own, p99, as_json, changes))


def _sweep(name: str, peers: str, own: bool, p99: float, as_json: bool, changes: dict[str, Any]) -> int:
    from bench import suite, tables

    if changes["seconds"] is None:
        changes["seconds"] = suite.SWEEP_SECONDS
    scenario = replace(_changed(name, changes), warmup_seconds=suite.SWEEP_WARMUP_SECONDS)
    chosen = _systems(peers, own=own)
    with _progress() as tick:
        result = asyncio.run(suite.sweep(scenario, chosen, p99 * 1e3, tick))
    shown = tables.sweep(result)
    _show(shown, suite.write(result, shown, "sweep"), as_json=as_json)
    return exit_codes.OK


@command.command("soak")
@click.argument("name", metavar="[SCENARIO]", default="soak")
@_load_options
@options.json_option
def soak_command(name: str, peers: str, own: bool, as_json: bool, **changes: Any) -> int:
    """Run one long scenario once; print memory and p99 over time."""
    wanted = "none" if peers == "all" else peers
    return _translated(lambda: _run(name, wanted, own, 1, as_json, changes))
