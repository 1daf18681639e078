"""`lanecast sessions`: who is connected, and the end of a connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lanecast.cli import options
from lanecast.cli.commands.channels import note_unanswered
from lanecast.cli.output import terminal_text, write_json, write_line

if TYPE_CHECKING:
    from lanecast.v1.admin_pb2 import Session

EPILOG = """\b
Examples:
  lanecast sessions
  lanecast sessions --subject page --limit 500
  lanecast sessions disconnect 0190a1b2c3d47e8f9a0b1c2d3e4f5a6b --reason "moved to another gateway"

Sessions are listed oldest first. A client that is disconnected is told the reason and may connect again; what keeps it
out is a token that has ended."""


@click.group("sessions", short_help="List or end connections.", epilog=EPILOG, invoke_without_command=True)
@click.option("--subject", default="", help="Only sessions of this subject.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Most sessions to list.")
@options.metrics_option
@options.json_option
@click.pass_context
def command(context: click.Context, subject: str, limit: int, target: str, as_json: bool) -> None:
    """List the open sessions of all gateways, or end one."""
    if context.invoked_subcommand is None:
        asyncio.run(_list(subject, limit, target, as_json))


@command.command("disconnect")
@click.argument("session")
@click.option("--reason", default="", help="Told to the client and kept in the log; at most 100 bytes.")
@options.metrics_option
def disconnect(session: str, reason: str, target: str) -> None:
    """End a session."""
    asyncio.run(_disconnect(session, reason, target))


async def _list(subject: str, limit: int, target: str, as_json: bool) -> None:
    from lanecast.cli.metrics import connected, to_dict
    from lanecast.v1 import admin_pb2

    found: list[admin_pb2.Session] = []
    token, more = "", True
    async with connected(target) as client:
        while more and len(found) < limit:
            size = min(1000, limit - len(found))
            request = admin_pb2.ListSessionsRequest(subject=subject, page_size=size, page_token=token)
            answer = await client.call(client.admin.ListSessions, request)
            found += answer.sessions
            token = answer.next_page_token
            more = bool(token)
    note_unanswered(answer.unanswered)
    if as_json:
        for session in found:
            write_json(to_dict(session))
        return
    for line in _lines(found):
        write_line(line)
    if more:
        write_line(f"more than {limit} sessions are open: raise --limit to see the others")


def _lines(found: Sequence[Session]) -> list[str]:
    from lanecast.cli.core.tables import ago, count, table

    if not found:
        return ["no session is open"]
    now = time.time()
    rows = [
        (
            one.id,
            terminal_text(one.subject),
            one.gateway,
            ago(now - one.open_time.ToNanoseconds() / 1e9),
            count(one.subscriptions),
            count(one.outbox_bytes),
            one.subprotocol.rpartition(".")[2],
        )
        for one in found
    ]
    return table(("session", "subject", "gateway", "age", "channels", "waiting B", "form"), rows, left=3)


async def _disconnect(session: str, reason: str, target: str) -> None:
    from lanecast.cli.metrics import connected
    from lanecast.v1 import admin_pb2

    async with connected(target) as client:
        request = admin_pb2.DisconnectSessionRequest(id=session, reason=reason)
        await client.call(client.admin.DisconnectSession, request)
    write_line(f"session {session} is closed")
