"""`lanecast up`: publisher, gateways and metrics on this machine, kept running.

Owns what the options mean together. The work is in `lanecast.cli.core` and `lanecast.cli.supervise`.
"""

from __future__ import annotations

from typing import Any

import click

from lanecast.cli import options

EPILOG = """\b
Examples:
  lanecast up
  lanecast up --data-dir /var/lib/lanecast --gateways 4 --host 0.0.0.0
  lanecast up --ready-file up.json --publisher-port 0     a free port, told in up.json
  lanecast up --log nats://127.0.0.1:4222 --log-check http://127.0.0.1:8222
  LANECAST_UP_GATEWAYS=2 lanecast up --config lanecast.toml

\b
lanecast.toml:
  data_dir = "/var/lib/lanecast"
  [up]
  gateways = 2
  [publisher]
  port = 7400

SIGTERM or Ctrl-C drains gateways, publisher and metrics in this order and ends with exit code 0; a second one ends
all at once. A service that dies is restarted; one that cannot start at all ends the whole with exit code 2 or 4."""


@click.command("up", epilog=EPILOG)
@options.system_options
@options.json_option
def command(as_json: bool, **system: Any) -> int:
    """Start everything on this machine and keep it running.

    Starts the publisher, one or more gateways and the metrics service as child processes, with the event log in the
    data directory. Prints a line when each is ready, then the address of the dashboard. What they log goes to
    standard error.
    """
    from lanecast.cli.supervise.system import SystemRequest, run_system

    return run_system(SystemRequest.of_options(system, as_json=as_json))
