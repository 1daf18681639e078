"""Entry point of the `lanecast` command: its subcommands, and the one place where errors become words and exit codes.

Owns the exit code of every command. Command modules raise `LanecastError`; they neither print errors nor exit. They are
loaded when they are used, and keep heavy imports inside functions, so that `--help` is fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from lanecast.core import exit_codes
from lanecast.errors import ConfigError, LanecastError, StartError, TokenError, UnavailableError

COMMANDS = (
    "up",
    "restart",
    "demo",
    "publish",
    "tail",
    "token",
    "types",
    "health",
    "top",
    "alerts",
    "report",
    "perf-test",
    "channels",
    "sessions",
    "bench",
)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

EPILOG = f"""\b
Start here:
  lanecast up                          start everything on this machine
  lanecast demo                        let four example AI services publish
  lanecast tail agent:42               see what arrives in a channel

\b
Exit codes:
  {exit_codes.OK:>3}  done, or drained after SIGTERM or Ctrl-C
  {exit_codes.FAILED:>3}  tried, and not all of it succeeded: an event was refused or not acknowledged
  {exit_codes.USAGE:>3}  an option, variable, file or input is wrong; nothing was tried
  {exit_codes.UNAVAILABLE:>3}  a service that is needed cannot be reached
  {exit_codes.CANNOT_START:>3}  a service cannot start: port in use, data directory unusable or of a newer format
  {exit_codes.INTERRUPTED:>3}  ended by Ctrl-C before the work was done

Every option can also be set by the variable that its help shows."""


class _OutputClosedError(Exception):
    """Nobody reads standard output any more."""


class LazyGroup(click.Group):
    """A group whose commands are modules of `lanecast.cli.commands`, imported on demand."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a closed pipe is renamed, for click would make it an exit with code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _OutputClosedError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"lanecast.cli.commands.{cmd_name.replace('-', '_')}").command
        return command


HELP = """Lanecast delivers typed events from AI services to browsers, each in a priority lane with a latency budget.

\b
AI service ── gRPC ──▶ publisher ── gRPC ──▶ gateway ── WebSocket ──▶ browser
"""


@click.group(cls=LazyGroup, help=HELP, epilog=EPILOG, context_settings=CONTEXT)
@click.version_option(package_name="lanecast", message="%(prog)s %(version)s")
def cli() -> None:
    """Group of all commands; `HELP` is what the user reads."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        result = cli.main(args=arguments, prog_name="lanecast", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return exit_codes.USAGE
    except (click.Abort, KeyboardInterrupt):
        return exit_codes.INTERRUPTED
    except (_OutputClosedError, BrokenPipeError):
        _abandon_output()
        return exit_codes.OK
    except LanecastError as error:
        sys.stderr.write(f"lanecast: {' '.join(str(error).split())}\n")
        return exit_code(error)
    return result if isinstance(result, int) else exit_codes.OK


def exit_code(error: LanecastError) -> int:
    """Return the exit code that stands for an error."""
    if isinstance(error, ConfigError | TokenError):
        return exit_codes.USAGE
    if isinstance(error, UnavailableError):
        return exit_codes.UNAVAILABLE
    if isinstance(error, StartError):
        return exit_codes.CANNOT_START
    return exit_codes.FAILED


def _abandon_output() -> None:
    # The reader of our output has all it wants; without this, the flush at exit would fail a second time, aloud.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
