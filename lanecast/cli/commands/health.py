"""`lanecast health`: a probe for containers and scripts, with nothing but this package."""

from __future__ import annotations

import asyncio

import click

from lanecast.cli import options
from lanecast.cli.output import write_json, write_line
from lanecast.core import exit_codes
from lanecast.errors import ConfigError

EPILOG = f"""\b
Examples:
  lanecast health --grpc 127.0.0.1:7400                     publisher or metrics
  lanecast health --http http://127.0.0.1:7401/readyz       gateway

Ends with {exit_codes.OK} if all are healthy, with {exit_codes.UNAVAILABLE} if one is not."""


@click.command("health", epilog=EPILOG)
@click.option("--grpc", "targets", metavar="HOST:PORT", multiple=True, help="Asks the gRPC health service there.")
@click.option("--http", "urls", metavar="URL", multiple=True, help="Expects status 200 there.")
@options.json_option
def command(targets: tuple[str, ...], urls: tuple[str, ...], as_json: bool) -> int:
    """Ask services whether they are healthy."""
    from lanecast.cli.rpc import is_serving

    if not targets and not urls:
        raise ConfigError("nothing to ask: give --grpc or --http")
    results = {target: asyncio.run(is_serving(target)) for target in targets}
    results.update({url: _answers(url) for url in urls})
    for place, healthy in results.items():
        if as_json:
            write_json({"target": place, "healthy": healthy})
        else:
            write_line(f"{place} {'is healthy' if healthy else 'does not answer as a healthy service'}")
    return exit_codes.OK if all(results.values()) else exit_codes.UNAVAILABLE


def _answers(url: str) -> bool:
    from urllib.request import HTTPSHandler, ProxyHandler, build_opener

    from lanecast.cli.rpc import TIMEOUT_SECONDS
    from lanecast.runtime import tls

    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no web address: write it as http://127.0.0.1:7401/readyz")
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=tls.client_context(tls.settings())))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False
