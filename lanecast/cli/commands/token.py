"""`lanecast token`: a token of a browser or a publisher, for development."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lanecast.cli import options
from lanecast.cli.output import write_json, write_line, write_note
from lanecast.core.priority import Priority
from lanecast.errors import ConfigError

EPILOG = """\b
Examples:
  lanecast token --subscribe agent:42
  lanecast token --subscribe 'agent:*' --subscribe bots:handoffs --ttl 8h
  TOKEN=$(lanecast token --subscribe '*' --data-dir /var/lib/lanecast)
  lanecast token --publish 'agent:*' --subject concierge --highest-lane NORMAL --rate 500 > concierge.token

A pattern is a channel name, or its beginning with one trailing *. The token is signed with the key in the data
directory, so gateway and publisher must use the same directory. It is a password: whoever has it may do what it allows.

All publishers with the same --subject share one --rate. A publisher asks for tokens where it runs with
LANECAST_PUBLISHER_PUBLISH_AUTH=token."""


@click.command("token", epilog=EPILOG)
@click.option("--subscribe", "patterns", metavar="PATTERN", multiple=True, help="Channels it may subscribe to.")
@click.option("--publish", metavar="PATTERN", multiple=True, help="Channels it may publish to.")
@click.option(
    "--highest-lane",
    metavar="LANE",
    default="CRITICAL",
    show_default=True,
    callback=options.to_lane,
    help="Most urgent lane it may publish in.",
)
@click.option(
    "--rate", type=float, metavar="N", help="Events/s it may publish. [default: as the publisher is configured]"
)
@click.option("--burst", type=int, metavar="N", help="Events that may come at once. [default: those of a second]")
@click.option(
    "--ttl",
    metavar="DURATION",
    default="1h",
    show_default=True,
    callback=options.to_seconds,
    help="How long it is valid, at most 7d.",
)
@click.option("--subject", default="developer", show_default=True, help="Whom the token speaks for.")
@options.data_dir_option
@options.config_option
@options.json_option
def command(
    patterns: tuple[str, ...],
    publish: tuple[str, ...],
    highest_lane: Priority,
    rate: float | None,
    burst: int | None,
    ttl: float,
    subject: str,
    data_dir: Path,
    config: Path | None,
    as_json: bool,
) -> None:
    """Print a token with which a browser may subscribe, or a service publish."""
    from lanecast.runtime import tokens

    del config  # it has given the other options their defaults
    if not patterns and not publish:
        raise ConfigError("name at least one channel, with --subscribe or with --publish")
    if burst is not None and rate is None:
        raise ConfigError("--burst belongs to a --rate: give both")
    limit = None
    if rate is not None:
        limit = tokens.Rate(rate, tokens.default_burst(rate) if burst is None else burst)
    if not (data_dir / tokens.KEY_FILE).exists():
        write_note(f"lanecast: made a new development key in {data_dir}; start the services with this data directory")
    key = tokens.load_or_create_key(data_dir)
    token = tokens.issue(
        key,
        patterns,
        subject=subject,
        ttl_seconds=ttl,
        publish=publish,
        highest_lane=highest_lane,
        rate=limit,
    )
    if as_json:
        grants = {"subscribe": list(patterns), "publish": list(publish)}
        write_json({"token": token, **grants, "expires_unix": int(time.time() + ttl)})
    else:
        write_line(token)
