"""`lanecast report`: a report over a period, or the service level document."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path

import click

from lanecast.cli import options
from lanecast.cli.output import write_line, write_note
from lanecast.errors import ConfigError

FORMATS = {"md": "markdown", "html": "html", "json": "json"}

EPILOG = """\b
Examples:
  lanecast report                                     the last 24 hours, as Markdown
  lanecast report --since 1h --format html -o report.html
  lanecast report --sla --since 7d -o sla.md
  lanecast report --format json | jq .grade

The form follows the ending of the file where --format is not given. The report is kept by the metrics service, too."""


@click.command("report", short_help="Report on a period.", epilog=EPILOG)
@click.option(
    "--since",
    metavar="DURATION",
    default="24h",
    show_default=True,
    callback=options.to_seconds,
    help="How far back it begins.",
)
@click.option(
    "--until",
    metavar="DURATION",
    default="0s",
    callback=options.to_seconds,
    help="How far back it ends. [default: now]",
)
@click.option("--sla", is_flag=True, help="Write the service level document: objectives, and the record against them.")
@click.option("--format", "form", type=click.Choice(tuple(FORMATS)), help="[default: md]")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write. [default: print]")
@click.option("--title", default="", help="Title of the report.")
@options.metrics_option
def command(
    since: float, until: float, sla: bool, form: str | None, output: Path | None, title: str, target: str
) -> None:
    """Write a report on latency, throughput and grade over a period, or the service level document."""
    if since <= until:
        raise ConfigError("the report ends before it begins: --since must be longer than --until")
    chosen = form or _by_ending(output)
    text = asyncio.run(_create(since, until, sla, title, target, FORMATS[chosen]))
    if output is None:
        write_line(text.rstrip("\n"))
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}") from error
    write_note(f"lanecast: wrote {output}")


def _by_ending(output: Path | None) -> str:
    ending = output.suffix.lower().lstrip(".") if output is not None else ""
    return {"htm": "html", "markdown": "md"}.get(ending, ending if ending in FORMATS else "md")


async def _create(since: float, until: float, sla: bool, title: str, target: str, field: str) -> str:
    from lanecast.cli.metrics import connected
    from lanecast.v1 import metrics_pb2

    now = time.time_ns()
    request = metrics_pb2.CreateReportRequest(
        request_id=str(uuid.uuid4()),
        title=title,
        kind=metrics_pb2.REPORT_KIND_SLA if sla else metrics_pb2.REPORT_KIND_PERFORMANCE,
    )
    request.start_time.FromNanoseconds(now - int(since * 1e9))
    request.end_time.FromNanoseconds(now - int(until * 1e9) + (1_000_000_000 if not until else 0))
    async with connected(target) as client:
        answer = await client.call(client.metrics.CreateReport, request, 60.0)
    return str(getattr(answer.report, field))
