"""A gateway whose clock is set otherwise than the publisher's, as on another host: figures are right, with a bound."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from telemetry_stack import Browser, running_stack

from lanecast import AsyncPublisher
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import Priority
from lanecast.v1 import metrics_pb2, metrics_pb2_grpc
from lanecast.v1.gateway_pb2 import ClientFrame, Receipt, ReceiptSample

CHANNEL = "agent:42"
SENT = 20
SERVER, TRANSIT = (metrics_pb2.LATENCY_SCOPE_SERVER, 0), (metrics_pb2.LATENCY_SCOPE_HOP, metrics_pb2.HOP_TRANSIT)
END_TO_END = (metrics_pb2.LATENCY_SCOPE_END_TO_END, 0)
LAST_MILE = (metrics_pb2.LATENCY_SCOPE_HOP, metrics_pb2.HOP_LAST_MILE)


async def figures(metrics: metrics_pb2_grpc.MetricsServiceAsyncStub, lane: Priority) -> dict[tuple[int, int], Any]:
    """Return the figures of a lane there are now."""
    request = metrics_pb2.GetLatencyRequest(filter=metrics_pb2.MetricsFilter(lanes=[lane.wire_value]))
    request.window.FromSeconds(120)
    answer = await metrics.GetLatency(request)
    return {(each.scope, each.hop): each for each in answer.figures if not each.type}


async def deliver(publisher: AsyncPublisher, browser: Browser, lane: Priority) -> None:
    """Publish an event, and receive it as a browser that reports it."""
    await publisher.publish(CHANNEL, ConciergeInsight(text="Offer the upgrade"), priority=lane)
    batch = (await browser.expect("events")).events
    # The browser's estimate of the gateway's clock is right: 5 ms after the gateway had sent it.
    received_ns = batch.edge_send_time_unix_nano + 5_000_000
    (event,) = batch.events
    sample = ReceiptSample(
        lane=batch.lane,
        offset=event.offset,
        last_mile_micros=5_000,
        uncertainty_micros=300,
        type=event.data.type_url.rpartition("/")[2],
        end_to_end_micros=(received_ns - event.send_time_unix_nano) // 1000,
    )
    await browser.send(ClientFrame(receipt=Receipt(samples=[sample])))


async def until_known(
    metrics: metrics_pb2_grpc.MetricsServiceAsyncStub, publisher: AsyncPublisher, browser: Browser
) -> None:
    """Deliver on HIGH until one is counted although the clocks differ: then NORMAL, which asks for less, is counted.

    Before, the gateway may not have asked yet, or may know the clock too badly: both are no failure.
    """
    since: int | None = None
    while True:
        await deliver(publisher, browser, Priority.HIGH)
        await asyncio.sleep(0.05)
        server = (await figures(metrics, Priority.HIGH)).get(SERVER)
        if server is None or server.clock_error_bound_seconds < 1e-6:
            continue
        if since is not None and server.count > since:
            return
        # A report holds all that was delivered before it: what is counted from now on is so by the known clock.
        since = server.count if since is None else since


@pytest.mark.parametrize("ahead_ms", [-3_000.0, 0.0, 200.0])
async def test_the_difference_is_measured_taken_off_and_bounded(tmp_path: Path, ahead_ms: float) -> None:
    async with (
        running_stack(tmp_path, ahead_ms=ahead_ms) as stack,
        stack.browser(CHANNEL) as browser,
        AsyncPublisher(stack.publisher, source="tests") as publisher,
        grpc.aio.insecure_channel(str(stack.facts["metrics"]["address"])) as channel,
    ):
        metrics = metrics_pb2_grpc.MetricsServiceStub(channel)
        if ahead_ms:
            await until_known(metrics, publisher, browser)
        for _ in range(SENT):
            await deliver(publisher, browser, Priority.NORMAL)
        found: dict[tuple[int, int], Any] = {}
        while not all(each in found and found[each].count >= SENT for each in (SERVER, END_TO_END)):
            found = await figures(metrics, Priority.NORMAL)
            await asyncio.sleep(0.05)
    server, transit, whole, last_mile = (found[each] for each in (SERVER, TRANSIT, END_TO_END, LAST_MILE))
    assert server.count == transit.count == whole.count == SENT
    # Three seconds, or a fifth of one, would be seen; so would a negative duration, which is in no bucket.
    assert 0 < transit.p50_seconds <= server.p50_seconds < 0.15
    assert 0.005 < whole.p50_seconds < 0.155
    if not ahead_ms:
        assert (server.clock_error_bound_seconds, transit.clock_error_bound_seconds) == pytest.approx((0, 0), abs=1e-8)
    else:
        assert 1e-6 < server.clock_error_bound_seconds <= 0.005  # half of what NORMAL promises
        assert transit.clock_error_bound_seconds == server.clock_error_bound_seconds
    assert last_mile.clock_error_bound_seconds == pytest.approx(0.0003)
    assert whole.clock_error_bound_seconds == pytest.approx(
        min(0.005, 0.0003 + server.clock_error_bound_seconds), abs=1e-6
    )
