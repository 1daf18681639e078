"""`lanecast channels`: which channels stand out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import click

from lanecast.cli import options
from lanecast.cli.output import terminal_text, write_json, write_line, write_note

ORDERS = ("rate", "lag", "subscribers")

EPILOG = """\b
Examples:
  lanecast channels                       the busiest
  lanecast channels --by lag --limit 5    where readers are behind
  lanecast channels --json | jq -r .channel

Rates are those of the last minute. Lag is how many offsets of the log the slowest reader is behind; offsets count
through all channels. A process that does not answer is named on standard error."""


@click.command("channels", short_help="List the channels that stand out.", epilog=EPILOG)
@click.option("--by", "order", type=click.Choice(ORDERS), default="rate", show_default=True, help="The measure.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most channels to list.")
@options.metrics_option
@options.json_option
def command(order: str, limit: int, target: str, as_json: bool) -> None:
    """List the channels with the highest rate, the greatest lag or the most subscribers."""
    asyncio.run(_list(order, limit, target, as_json))


async def _list(order: str, limit: int, target: str, as_json: bool) -> None:
    from lanecast.cli.core.tables import count, rate, table
    from lanecast.cli.metrics import connected, to_dict
    from lanecast.v1 import admin_pb2

    request = admin_pb2.ListChannelsRequest(
        order_by=admin_pb2.ChannelOrder.Value(f"CHANNEL_ORDER_{order.upper()}"), page_size=limit
    )
    async with connected(target) as client:
        answer = await client.call(client.admin.ListChannels, request)
    note_unanswered(answer.unanswered)
    if as_json:
        for channel in answer.channels:
            write_json(to_dict(channel))
        return
    rows = [
        (terminal_text(one.channel), rate(one.events_per_second), count(one.lag), count(one.subscribers))
        for one in answer.channels
    ]
    if not rows:
        write_line("no channel had an event in the last minute, a reader that is behind, or a subscriber")
        return
    for line in table(("channel", "events/s", "lag", "subscribers"), rows):
        write_line(line)


def note_unanswered(names: Iterable[str]) -> None:
    """Say on standard error whose part is missing."""
    for name in names:
        write_note(f"lanecast: {name} did not answer; its part is missing")
