"""`lanecast rollout`: move channels from one delivery policy to another, and see it done.

Owns the subcommands and their options; the calls, and what is printed of the answers, are in
`lanecast.cli.rollouts`.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from lanecast.cli import options
from lanecast.cli.output import write_json, write_line
from lanecast.core import exit_codes
from lanecast.errors import ConfigError

VERBS = {
    "start": "Start a rollout.",
    "pause": "Hold a rollout where it is; its guardrails go on.",
    "resume": "Go on with a rollout that is held.",
    "approve": "Approve the gate a rollout waits at.",
    "advance": "Go on without a verdict; recorded as an override.",
    "rollback": "Take all channels back to the baseline.",
    "cancel": "End a rollout that has exposed no channel.",
    "retry": "Start a rolled back or cancelled rollout again.",
}

EPILOG = """\b
Examples:
  lanecast rollout run --from legacy-500ms --to default     create, start, and watch to the end
  lanecast rollout validate --from legacy-500ms --to default
  lanecast rollout run --from legacy-500ms --to default --preset demo     in the demo, in minutes
  lanecast rollout status                                   the newest one
  lanecast rollout rollback --reason "looks wrong"
  lanecast rollout report --format html > report.html
  lanecast rollout policy create policy.json
  lanecast rollout simulate --runs 200

A rollout is named by its id; without one, the newest is meant."""


@click.group("rollout", short_help="Change a delivery policy by stages, with a way back.", epilog=EPILOG)
@options.metrics_option
def command(target: str) -> None:
    """Move channels from one delivery policy to another by stages, and back by itself when it harms."""
    del target  # the subcommands' option takes it over


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "least": 10.0,
        "most": 600.0,
        "settle": 3.0,
        "look": 2.0,
        "bake": 10.0,
        "objective": 0.95,
        "prove": 0.5,
        "quantiles": (0.95,),
    },
}
"""Plans by name: the options each sets where the command line does not."""


def plan_options(function: Any) -> Any:
    """Add everything that makes a plan."""
    made = [
        click.option("--from", "baseline", required=True, metavar="POLICY", help="The policy in force."),
        click.option("--to", "candidate", required=True, metavar="POLICY", help="The policy to introduce."),
        click.option(
            "--preset",
            type=click.Choice(list(PRESETS)),
            help="demo: --min 10s --max 10m --settle 3s --look 2s --bake 10s --quantile 0.95 --objective 0.95"
            " --prove 0.5: judged in minutes, and by less.",
        ),
        click.option("--stages", default="10,25,50,75,100", show_default=True, help="Percent of channels."),
        click.option("--gate", multiple=True, type=int, metavar="PERCENT", help="Wait for approval after this stage."),
        click.option(
            "--min",
            "least",
            default="1m",
            show_default=True,
            callback=options.to_seconds,
            help="Least analysis of a stage.",
        ),
        click.option(
            "--max",
            "most",
            default="1h",
            show_default=True,
            callback=options.to_seconds,
            help="Most analysis of a stage.",
        ),
        click.option(
            "--settle", default="10s", show_default=True, callback=options.to_seconds, help="Wait after a change."
        ),
        click.option(
            "--look", default="5s", show_default=True, callback=options.to_seconds, help="Time between looks."
        ),
        click.option("--bake", default="5m", show_default=True, callback=options.to_seconds, help="Watch at 100 %."),
        click.option("--ratio", type=float, default=1.1, show_default=True, help="Largest tolerated latency ratio."),
        click.option("--prove", type=float, default=0.0, help="Ratio of p95 to prove before 50 %, for example 0.5."),
        click.option("--objective", type=float, default=0.0, help="Share within limits; 0 for that of each lane."),
        click.option(
            "--quantile",
            "quantiles",
            multiple=True,
            type=float,
            default=(0.95, 0.99),
            show_default=True,
            help="Quantile of latency to compare with the control; can be given several times.",
        ),
        click.option("--pin", multiple=True, metavar="CHANNEL", help="Leave this channel on the baseline."),
    ]
    for option in reversed(made):
        function = option(function)
    return function


def _plan(given: dict[str, Any]) -> Any:
    from lanecast.cli.rollouts import build_plan

    source = click.get_current_context().get_parameter_source
    preset = PRESETS.get(given["preset"] or "", {})
    given = given | {name: value for name, value in preset.items() if source(name) is ParameterSource.DEFAULT}
    try:
        percents = [int(part) for part in given["stages"].split(",")]
    except ValueError:
        raise ConfigError(f"--stages is {given['stages']!r}: write percentages with commas, as 10,50,100") from None
    return build_plan(percents, given)


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@command.command("create")
@plan_options
@click.option("--request-id", default="", help="With the same one again, the same rollout is meant.")
@click.option("--reason", default="", help="What it is for; shown until it is started.")
@options.json_option
@options.metrics_option
def create(target: str, request_id: str, reason: str, as_json: bool, **given: Any) -> None:
    """Create a rollout without starting it."""
    from lanecast.cli import rollouts

    rollout = asyncio.run(rollouts.create(target, _plan(given), _actor(), request_id, reason))
    rollouts.show(rollout, as_json=as_json)


@command.command("validate")
@plan_options
@options.json_option
@options.metrics_option
def validate(target: str, as_json: bool, **given: Any) -> int:
    """Say what each stage needs and how long it takes at the present traffic."""
    from lanecast.cli import rollouts

    answer = asyncio.run(rollouts.validate(target, _plan(given)))
    rollouts.show_needs(answer, as_json=as_json)
    return exit_codes.FAILED if answer.problems else exit_codes.OK


@command.command("run")
@plan_options
@click.option("--plain", is_flag=True, help="Print a line for each change instead of a live view.")
@options.metrics_option
def run(target: str, plain: bool, **given: Any) -> int:
    """Create and start a rollout, and show it until it is over; Ctrl-C leaves it running."""
    from lanecast.cli import rollouts

    return asyncio.run(rollouts.run(target, _plan(given), _actor(), plain=plain or not sys.stdout.isatty()))


@command.command("watch")
@click.argument("name", metavar="[ID]", default="")
@click.option("--plain", is_flag=True, help="Print a line for each change instead of a live view.")
@options.metrics_option
def watch(target: str, name: str, plain: bool) -> int:
    """Show a rollout until it is over."""
    from lanecast.cli import rollouts

    return asyncio.run(rollouts.watch(target, name, plain=plain or not sys.stdout.isatty()))


@command.command("status")
@click.argument("name", metavar="[ID]", default="")
@options.json_option
@options.metrics_option
def status(target: str, name: str, as_json: bool) -> None:
    """Show a rollout with what its rules say."""
    from lanecast.cli import rollouts

    rollouts.show(asyncio.run(rollouts.get(target, name)), as_json=as_json)


@command.command("list")
@options.json_option
@options.metrics_option
def list_(target: str, as_json: bool) -> None:
    """List rollouts, newest first."""
    from lanecast.cli import rollouts

    for rollout in asyncio.run(rollouts.list_all(target)):
        rollouts.show_line(rollout, as_json=as_json)


@command.command("history")
@click.argument("name", metavar="[ID]", default="")
@click.option("--looks", is_flag=True, help="Also what was seen at each look.")
@options.json_option
@options.metrics_option
def history(target: str, name: str, looks: bool, as_json: bool) -> None:
    """Show everything that was done to a rollout and by it."""
    from lanecast.cli import rollouts

    for entry in asyncio.run(rollouts.history(target, name)):
        if entry.kind == "look" and not (looks or as_json):
            continue
        moment = entry.time.ToDatetime().isoformat(timespec="seconds")
        if as_json:
            data = json.loads(entry.data_json)
            write_json(
                {
                    "number": entry.number,
                    "time": moment,
                    "kind": entry.kind,
                    "actor": entry.actor,
                    "reason": entry.reason,
                    "data": data,
                }
            )
        else:
            write_line(f"{moment}Z  {entry.kind:8} {rollouts.state_in(entry):14} {entry.actor}: {entry.reason}")


@command.command("report")
@click.argument("name", metavar="[ID]", default="")
@click.option(
    "--format", "form", type=click.Choice(["markdown", "html", "json"]), default="markdown", show_default=True
)
@options.metrics_option
def report(target: str, name: str, form: str) -> None:
    """Print the report of a rollout, during it or after."""
    from lanecast.cli import rollouts

    write_line(getattr(asyncio.run(rollouts.report(target, name)), form).rstrip("\n"))


@command.command("simulate", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulate(arguments: tuple[str, ...]) -> int:
    """Count in a made-up world how often rollouts are wrong."""
    return subprocess.call([sys.executable, "-m", "metrics_svc.simulate", *arguments])  # noqa: S603 - our own module


@command.group("policy")
def policy() -> None:
    """Policies: immutable, named sets of lane settings."""


@policy.command("list")
@options.json_option
@options.metrics_option
def policy_list(target: str, as_json: bool) -> None:
    """List policies."""
    from lanecast.cli import rollouts

    for found in asyncio.run(rollouts.policies(target)):
        rollouts.show_policy(found, as_json=as_json)


@policy.command("create")
@click.argument("file", type=click.Path(path_type=Path))
@options.json_option
@options.metrics_option
def policy_create(target: str, file: Path, as_json: bool) -> None:
    """Keep the policy that FILE describes, as JSON of lanecast.v1.Policy."""
    from lanecast.cli import rollouts

    rollouts.show_policy(asyncio.run(rollouts.create_policy(target, file)), as_json=as_json)


@policy.command("compare")
@click.argument("one")
@click.argument("other")
@options.metrics_option
def policy_compare(target: str, one: str, other: str) -> None:
    """Show what two policies do differently."""
    from lanecast.cli import rollouts

    found = {each.name: each for each in asyncio.run(rollouts.policies(target))}
    for name in (one, other):
        if name not in found:
            raise ConfigError(f"there is no policy {name!r}: use one of {', '.join(found)}")
    for line in rollouts.differences(found[one], found[other]):
        write_line(line)


def _add_verb(verb: str, text: str) -> None:
    @command.command(verb, help=text)
    @click.argument("name", metavar="[ID]", default="")
    @click.option("--reason", default="", help="For the record.")
    @click.option("--version", type=int, default=0, help="Refuse if the rollout has changed since this version.")
    @options.json_option
    @options.metrics_option
    def carry_out(target: str, name: str, reason: str, version: int, as_json: bool) -> None:
        from lanecast.cli import rollouts

        asked = {"actor": _actor(), "reason": reason, "expected_version": version, "request_id": str(uuid.uuid4())}
        rollouts.show(asyncio.run(rollouts.ask(target, verb, name, asked)), as_json=as_json)


for _verb, _text in VERBS.items():
    _add_verb(_verb, _text)
