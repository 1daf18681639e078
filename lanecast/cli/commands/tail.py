"""`lanecast tail`: what arrives in channels.

Owns the form of the lines. Events come through the subscribing SDK, as a backend service would get them.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from lanecast.cli import options
from lanecast.cli.output import counted, terminal_text, write_json, write_line
from lanecast.core.channel import check_channel
from lanecast.core.priority import Priority
from lanecast.errors import ConfigError, StatusError

if TYPE_CHECKING:
    from lanecast import Delivery, Gap
    from lanecast.subscriber import EventStream

EPILOG = """\b
Examples:
  lanecast tail agent:42
  lanecast tail bots:handoffs strategy:recommendations --last 10
  lanecast tail agent:42 --lanes CRITICAL,HIGH --json | jq .data.text
  lanecast tail agent:42 --count 1        waits for one event, then ends

Events of one channel and lane come in order; between lanes, the most urgent comes first."""


@click.command("tail", epilog=EPILOG)
@click.argument("channels", metavar="CHANNEL…", nargs=-1, required=True)
@click.option("--last", type=click.IntRange(1, 1000), help="Begin with the last so many events of each lane.")
@click.option("--all", "from_start", is_flag=True, help="Begin with the oldest event that the log still has.")
@click.option(
    "--lanes", metavar="LANE,…", default="", callback=options.to_lanes, help="Only these lanes. [default: all]"
)
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@options.target_option
@options.json_option
def command(
    channels: tuple[str, ...],
    last: int | None,
    from_start: bool,
    lanes: tuple[Priority, ...],
    count: int | None,
    target: str,
    as_json: bool,
) -> None:
    """Print the events of channels as they arrive, until Ctrl-C."""
    if last and from_start:
        raise ConfigError("give either --last or --all")
    for channel in channels:
        problem = check_channel(channel)
        if problem:
            raise ConfigError(problem)
    asyncio.run(_tail(channels, last or 0, from_start, lanes, count, target, as_json))


async def _tail(
    channels: tuple[str, ...],
    last: int,
    from_start: bool,
    lanes: tuple[Priority, ...],
    count: int | None,
    target: str,
    as_json: bool,
) -> None:
    from lanecast import Start, Subscriber

    start = Start.LAST_N if last else Start.EARLIEST if from_start else Start.LATEST
    show, show_gap = (_write_json, _write_gap_json) if as_json else (_write_text, _write_gap_text)
    async with Subscriber(target, name="lanecast tail") as subscriber:
        events = subscriber.events(channels, lanes=lanes, start=start, last_n=last, on_gap=show_gap)
        async with events as stream:
            await _show(stream, show, count)


async def _show(stream: EventStream, show: Any, count: int | None) -> None:
    seen = 0
    async for delivery in stream:
        show(delivery)
        seen += 1
        if seen == count:
            return


def _write_text(delivery: Delivery) -> None:
    when = _accepted(delivery).astimezone().strftime("%H:%M:%S.%f")[:-3]
    name = delivery.type.rpartition(".")[2]
    data = _payload(delivery)
    text = json.dumps(data, ensure_ascii=False) if data is not None else f"{len(delivery.event.data.value)} bytes"
    write_line(terminal_text(f"{when} {delivery.lane.name:<8} {delivery.channel} {name} {text}"))


def _write_json(delivery: Delivery) -> None:
    import base64

    data = _payload(delivery)
    content = {"data": data} if data is not None else {"value": base64.b64encode(delivery.event.data.value).decode()}
    write_json(
        {
            "channel": delivery.channel,
            "lane": delivery.lane.name,
            "type": delivery.type,
            "id": delivery.id,
            "source": delivery.source,
            "epoch": delivery.epoch,
            "offset": delivery.offset,
            "accept_time": _accepted(delivery).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "replayed": delivery.replayed,
            **content,
        }
    )


def _write_gap_text(gap: Gap) -> None:
    count = counted(gap.count, "event") if gap.count else "events"
    write_line(terminal_text(f"{'':<12} {gap.lane.name:<8} {gap.channel} {count} will not come: {gap.reason}"))


def _write_gap_json(gap: Gap) -> None:
    facts = {"from_offset": gap.from_offset, "to_offset": gap.to_offset, "reason": gap.reason, "count": gap.count}
    write_json({"channel": gap.channel, "lane": gap.lane.name, "gap": facts})


def _payload(delivery: Delivery) -> dict[str, Any] | None:
    from google.protobuf.message import DecodeError

    from lanecast.cli.core.payloads import to_json

    try:
        return to_json(delivery.message)
    except (StatusError, DecodeError):
        return None  # of a type nobody describes: shown by its size, or as base64


def _accepted(delivery: Delivery) -> datetime:
    return datetime.fromtimestamp(delivery.event.accept_time_unix_nano / 1e9, UTC)
