"""`lanecast token`: a browser token for development."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lanecast.cli import options
from lanecast.cli.output import write_json, write_line, write_note

EPILOG = """\b
Examples:
  lanecast token --subscribe agent:42
  lanecast token --subscribe 'agent:*' --subscribe bots:handoffs --ttl 8h
  TOKEN=$(lanecast token --subscribe '*' --data-dir /var/lib/lanecast)

A pattern is a channel name, or its beginning with one trailing *. The token is signed with the key in the data
directory, so the gateway must use the same directory. It is a password: whoever has it may subscribe."""


@click.command("token", epilog=EPILOG)
@click.option("--subscribe", "patterns", metavar="PATTERN", multiple=True, required=True, help="Channels it allows.")
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
    patterns: tuple[str, ...], ttl: float, subject: str, data_dir: Path, config: Path | None, as_json: bool
) -> None:
    """Print a token with which a browser may subscribe."""
    from lanecast.runtime import tokens

    del config  # it has given the other options their defaults
    if not (data_dir / tokens.KEY_FILE).exists():
        write_note(f"lanecast: made a new development key in {data_dir}; start the gateway with this data directory")
    key = tokens.load_or_create_key(data_dir)
    token = tokens.issue(key, patterns, subject=subject, ttl_seconds=ttl)
    if as_json:
        write_json({"token": token, "subscribe": list(patterns), "expires_unix": int(time.time() + ttl)})
    else:
        write_line(token)
