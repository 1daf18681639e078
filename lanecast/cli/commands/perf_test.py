"""`lanecast perf-test`: how fast the running system is, measured with events of its own."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from lanecast.cli import options
from lanecast.cli.output import write_json, write_line, write_note
from lanecast.core import exit_codes
from lanecast.core.priority import Priority
from lanecast.errors import StatusError

if TYPE_CHECKING:
    from lanecast.v1.metrics_pb2 import RunPerformanceTestRequest, RunPerformanceTestResponse

EPILOG = f"""\b
Examples:
  lanecast perf-test
  lanecast perf-test --rate 5000 --duration 30s --subscribers 100
  lanecast perf-test --mix CRITICAL=1,LOW=9 --payload 1024
  lanecast perf-test --json | tail -1 | jq .grade

Events are published and received as users' are, on channels that no user can read or write, and are counted apart from
theirs. They take the machine's time and room in the log, though. Each is sent when it is due, whatever became of the
ones before; `end to end` counts from then, `server` from its acceptance. Ctrl-C ends the test.

Ends with {exit_codes.OK} where everything came once and the grade is A, B or C, else with {exit_codes.FAILED}."""


def to_mix(ctx: click.Context, param: click.Parameter, value: str) -> dict[Priority, float]:
    """Turn CRITICAL=1,LOW=9 into weights by lane."""
    mix: dict[Priority, float] = {}
    for part in filter(None, value.split(",")):
        name, _, weight = part.partition("=")
        try:
            mix[Priority.parse(name)] = float(weight)
        except ValueError as error:
            raise click.BadParameter(f"{part!r} is no share: write it as CRITICAL=1,LOW=9", ctx, param) from error
    return mix


@click.command("perf-test", short_help="Measure the running system with synthetic events.", epilog=EPILOG)
@click.option("--rate", type=click.IntRange(1, 50_000), default=1000, show_default=True, help="Events per second.")
@click.option(
    "--duration",
    metavar="DURATION",
    default="10s",
    show_default=True,
    callback=options.to_seconds,
    help="How long to send, 1s to 10m.",
)
@click.option("--subscribers", type=click.IntRange(1, 1000), default=10, show_default=True, help="WebSockets.")
@click.option(
    "--mix",
    metavar="LANE=WEIGHT,…",
    default="",
    callback=to_mix,
    help="Share of each lane. [default: CRITICAL=1,HIGH=9,NORMAL=60,LOW=30]",
)
@click.option("--payload", type=click.IntRange(16, 65_536), default=256, show_default=True, help="Bytes of a payload.")
@options.metrics_option
@options.json_option
def command(
    rate: int, duration: float, subscribers: int, mix: dict[Priority, float], payload: int, target: str, as_json: bool
) -> int:
    """Send synthetic events of the chosen rate and mix through the whole path, and grade what came of it."""
    from google.protobuf.duration_pb2 import Duration

    from lanecast.v1.metrics_pb2 import LaneShare, RunPerformanceTestRequest

    length = Duration()
    length.FromNanoseconds(int(duration * 1e9))
    request = RunPerformanceTestRequest(
        events_per_second=rate,
        duration=length,
        subscribers=subscribers,
        mix=[LaneShare(lane=lane.wire_value, weight=weight) for lane, weight in mix.items()],
        payload_bytes=payload,
    )
    return asyncio.run(_run(request, target, as_json))


async def _run(request: RunPerformanceTestRequest, target: str, as_json: bool) -> int:
    from lanecast.cli.metrics import connected, to_dict

    last: RunPerformanceTestResponse | None = None
    async with connected(target) as client:
        async for response in client.metrics.RunPerformanceTest(request):
            last = response
            if as_json:
                write_json(to_dict(response))
            elif not response.grade:
                _show_progress(response)
    if last is None or not last.grade:
        raise StatusError(13, "PERF_TEST_FAILED", "the test ended without a result; the log of metrics_svc says more")
    if not as_json:
        for line in result_lines(last):
            write_line(line)
    complete = not last.lost and not last.duplicated and not last.rejected
    return exit_codes.OK if complete and last.grade <= 3 else exit_codes.FAILED


def _show_progress(response: RunPerformanceTestResponse) -> None:
    text = f"{response.progress:4.0%}  sent {response.sent:,} of {response.planned:,}, received {response.received:,}"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text}\x1b[K" + ("\r\x1b[K" if response.progress >= 0.99 else ""))
        sys.stderr.flush()
    else:
        write_note(text)


def result_lines(result: RunPerformanceTestResponse) -> list[str]:
    """Return the result as lines for people."""
    from lanecast.cli.core.tables import count, millis, percent, table
    from lanecast.cli.metrics import grade_name, lane_name
    from lanecast.v1 import metrics_pb2

    server = [one for one in result.figures if one.scope == metrics_pb2.LATENCY_SCOPE_SERVER]
    whole = {one.lane: one for one in result.figures if one.scope == metrics_pb2.LATENCY_SCOPE_END_TO_END}
    rows = [
        (
            lane_name(one.lane),
            count(one.count),
            millis(one.budget_seconds),
            percent(one.within_budget),
            *map(millis, (one.p50_seconds, one.p99_seconds, one.p999_seconds)),
            *map(millis, (whole[one.lane].p50_seconds, whole[one.lane].p99_seconds)),
        )
        for one in server
        if one.lane in whole
    ]
    heads = ("lane", "events", "limit ms", "in limit", "p50", "p99", "p99.9", "e2e p50", "e2e p99")
    counts = (
        f"grade {grade_name(result.grade)}   sent {result.sent:,}, received {result.received:,}, lost {result.lost:,},"
        f" twice {result.duplicated:,}, refused {result.rejected:,}"
    )
    late = f"sent late by {millis(result.lateness_p99_seconds)} ms at the 99th percentile, which e2e includes"
    return [counts, "", *table(heads, rows), "", late, *result.remarks]
