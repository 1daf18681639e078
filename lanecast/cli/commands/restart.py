"""`lanecast restart`: a rolling restart of what `lanecast up` runs.

Owns finding the supervisor and waiting for its word; the supervisor does the work (`lanecast.cli.core.supervisor`).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from lanecast.cli import options
from lanecast.cli.output import write_json, write_line
from lanecast.core import exit_codes
from lanecast.errors import StartError, UnavailableError

EPILOG = """\b
Examples:
  lanecast restart                             what runs with --data-dir .lanecast
  lanecast restart --data-dir /var/lib/lanecast --timeout 5m

One service at a time is drained, ended and started again from the files that are installed now; the next follows when
all are ready. With two gateways or more no connection is refused meanwhile: each browser is told its own moment to
reconnect. The publisher is away for as long as it takes to start; publishing programs send again what it had not
acknowledged. kill -USR1 to `lanecast up` does the same."""

_LOOK_SECONDS = 0.05


@click.command("restart", epilog=EPILOG)
@options.data_dir_option
@click.option(
    "--timeout", metavar="DURATION", default="2m", show_default=True, callback=options.to_seconds,
    help="How long to wait for the end of it.",
)  # fmt: skip
@options.json_option
def command(data_dir: Path, timeout: float, as_json: bool) -> int:
    """Restart all services of a running `lanecast up`, one at a time."""
    from lanecast.cli.supervise.data_dir import STATE_FILE, holder
    from lanecast.cli.supervise.loop import ROLL_SIGNAL

    pid = holder(data_dir)
    state = _read(data_dir / STATE_FILE)
    if not pid or state.get("pid") != pid:
        raise UnavailableError(
            f"no `lanecast up` is ready with the data directory {data_dir}: start one, or name its --data-dir"
        )
    before = state["restarts"]
    os.kill(pid, ROLL_SIGNAL)
    give_up_at = time.monotonic() + timeout
    while state.get("restarts") == before:
        if holder(data_dir) != pid:
            raise StartError("`lanecast up` has ended meanwhile: see what it printed")
        if time.monotonic() > give_up_at:
            raise StartError(f"the services were not all restarted within {timeout:g} s: see what `lanecast up` prints")
        time.sleep(_LOOK_SECONDS)
        state = _read(data_dir / STATE_FILE) or state
    failed = str(state["failed"])
    if as_json:
        write_json({"restarted": not failed, "failed": failed})
    elif failed:
        write_line(f"{failed} did not become ready again, and is tried further; the services after it were spared")
    else:
        write_line("all services were restarted")
    return exit_codes.FAILED if failed else exit_codes.OK


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
