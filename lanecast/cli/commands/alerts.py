"""`lanecast alerts`: what is wrong now, what was, and who takes care of it."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lanecast.cli import options
from lanecast.cli.output import terminal_text, write_json, write_line

if TYPE_CHECKING:
    from lanecast.v1.metrics_pb2 import Alert

EPILOG = """\b
Examples:
  lanecast alerts list                            what is pending or firing, and what was
  lanecast alerts list --state firing --json
  lanecast alerts watch                           changes as they come, until Ctrl-C
  lanecast alerts ack ALERT --comment "new disk" --silence 2h"""

_STATES = ("pending", "firing", "resolved")
_HEAD = ("STATE", "SEVERITY", "LANE", "SINCE", "RULE", "TAKEN BY")


@click.group("alerts", short_help="Show alerts and take care of them.", epilog=EPILOG)
@options.metrics_option
def command(target: str) -> None:
    """Show alerts, watch them change, take care of one."""
    del target  # the subcommands' option takes it over


@command.command("list")
@click.option("--state", type=click.Choice(_STATES), help="Only alerts in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="Most alerts to show.")
@options.metrics_option
@options.json_option
def list_command(state: str | None, limit: int, target: str, as_json: bool) -> None:
    """List alerts, newest first."""
    alerts = asyncio.run(_list(target, state, limit))
    if as_json:
        for alert in alerts:
            _write_json(alert)
    elif alerts:
        _write_table(alerts)
    else:
        write_line(f"No alert is {state}." if state else "There is no alert.")


@command.command("watch")
@options.metrics_option
@options.json_option
def watch_command(target: str, as_json: bool) -> None:
    """Show what is open, then each change, until Ctrl-C."""
    asyncio.run(_watch(target, _write_json if as_json else _write_lines))


@command.command("ack")
@click.argument("alert")
@click.option("--by", default=None, help="Who takes care. [default: your name on this machine]")
@click.option("--comment", default="", help="Note for the record.")
@click.option("--silence", callback=options.to_seconds, default="0", help="Hold back notifications for so long, as 2h.")
@options.metrics_option
@options.json_option
def ack_command(alert: str, by: str | None, comment: str, silence: float, target: str, as_json: bool) -> None:
    """Record that somebody takes care of an alert; ALERT is its id."""
    changed = asyncio.run(_acknowledge(target, alert, by or getpass.getuser(), comment, silence))
    if as_json:
        _write_json(changed)
    else:
        _write_lines(changed)


async def _list(target: str, state: str | None, limit: int) -> list[Alert]:
    from lanecast.cli.metrics import connected
    from lanecast.v1 import metrics_pb2

    wanted = metrics_pb2.AlertState.Value(f"ALERT_STATE_{(state or 'unspecified').upper()}")
    request = metrics_pb2.ListAlertsRequest(state=wanted, page_size=limit)
    async with connected(target) as client:
        return list((await client.call(client.metrics.ListAlerts, request)).alerts)


async def _watch(target: str, show: Callable[[Alert], None]) -> None:
    from lanecast.cli.metrics import connected
    from lanecast.v1 import metrics_pb2

    async with connected(target) as client:
        async for response in client.metrics.WatchAlerts(metrics_pb2.WatchAlertsRequest()):
            show(response.alert)


async def _acknowledge(target: str, place: str, actor: str, comment: str, silence: float) -> Alert:
    from lanecast.cli.metrics import connected
    from lanecast.v1 import metrics_pb2

    request = metrics_pb2.AcknowledgeAlertRequest(id=place, actor=actor, comment=comment)
    if silence:
        request.silence.FromNanoseconds(round(silence * 1e9))
    async with connected(target) as client:
        return (await client.call(client.metrics.AcknowledgeAlert, request)).alert


def _write_json(alert: Alert) -> None:
    from lanecast.cli.metrics import to_dict

    write_json(to_dict(alert))


def _write_table(alerts: list[Alert]) -> None:
    rows = [_row(alert) for alert in alerts]
    widths = [max(len(row[column]) for row in [_HEAD, *rows]) for column in range(len(_HEAD))]
    write_line(_line(_HEAD, widths))
    for row, alert in zip(rows, alerts, strict=True):
        write_line(_line(row, widths))
        write_line(f"  {terminal_text(alert.id)}")
        write_line(f"  {terminal_text(alert.summary)}")


def _write_lines(alert: Alert) -> None:
    write_line("  ".join(part for part in _row(alert) if part != "-"))
    write_line(f"  {terminal_text(alert.id)}")
    write_line(f"  {terminal_text(alert.summary)}")


def _row(alert: Alert) -> tuple[str, ...]:
    from lanecast.v1 import event_pb2, metrics_pb2

    state = metrics_pb2.AlertState.Name(alert.state).removeprefix("ALERT_STATE_").lower()
    severity = metrics_pb2.AlertSeverity.Name(alert.severity).removeprefix("ALERT_SEVERITY_").lower()
    lane = event_pb2.Priority.Name(alert.lane).removeprefix("PRIORITY_") if alert.lane else "-"
    since = alert.start_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")
    return (state, severity, lane, since, terminal_text(alert.rule), terminal_text(alert.acknowledged_by) or "-")


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
