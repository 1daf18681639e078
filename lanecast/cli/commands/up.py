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
  lanecast up --publishers 2 --log nats://127.0.0.1:4222 --log-check http://127.0.0.1:8222
  lanecast up --cluster-demo
  LANECAST_UP_GATEWAYS=2 lanecast up --config lanecast.toml

\b
lanecast.toml:
  data_dir = "/var/lib/lanecast"
  [up]
  gateways = 2
  [publisher]
  port = 7400

SIGTERM or Ctrl-C drains gateways, publisher and metrics in this order and ends with exit code 0; a second one ends
all at once. SIGUSR1 restarts the services one at a time, as `lanecast restart` does.
A service that dies is restarted for as long as it takes, at once the first time, later after up to 10 s; one that
cannot start at all ends the whole with exit code 2 or 4."""


@click.command("up", epilog=EPILOG)
@options.system_options
@click.option(
    "--cluster-demo",
    is_flag=True,
    help="Run three NATS servers, two publishers and two gateways, to try what happens when one is lost.",
)
@options.json_option
def command(as_json: bool, cluster_demo: bool, **system: Any) -> int:
    """Start everything on this machine and keep it running.

    Starts the publisher, one or more gateways and the metrics service as child processes, with the event log in the
    data directory. Prints a line when each is ready, then the addresses of the dashboard and of the AI pages. What they
    log goes to standard error.
    """
    from lanecast.cli.supervise.system import SystemRequest, run_system

    return run_system(SystemRequest.of_options(system, as_json=as_json, cluster_demo=cluster_demo))
