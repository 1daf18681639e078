"""Alerts over gRPC, HTTP and server-sent events: the same alert everywhere."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from lanecast.core.priority import Priority
from lanecast.v1 import event_pb2, metrics_pb2
from metrics_svc.core.alerts import Reading, Severity, State

PATH = "/api/v1/websocket-performance/alerts"


def fire(running: Any, rule: str = "r", *, holds: bool = True) -> Any:
    """Let a rule of the running service read something."""
    watch = running.service.watch
    rule_reading = Reading(rule, Severity.PAGE, holds, holds, "It is wrong.", Priority.LOW, 0.0, 0.0)
    others = [Reading(one.rule, one.severity, True, True, one.summary) for one in watch.open_alerts()]
    changed = watch._book.update(watch._clock_ns(), [*(one for one in others if one.rule != rule), rule_reading])
    watch.feed.publish(changed)
    return changed[0]


@pytest.fixture
async def quiet(running: Any) -> Any:
    """A service whose own rules are not read any more."""
    watch = running.service.watch
    watch._task.cancel()
    return running


async def test_list_is_newest_first_in_pages_and_by_state(quiet: Any) -> None:
    alerts = [fire(quiet, f"r{number}") for number in range(5)]
    fire(quiet, "r4", holds=False)
    seen, token = [], ""
    while True:
        page = await quiet.metrics.ListAlerts(metrics_pb2.ListAlertsRequest(page_size=2, page_token=token))
        seen += [alert.id for alert in page.alerts]
        token = page.next_page_token
        if not token:
            break
    assert seen == [alert.id for alert in reversed(alerts)]
    async with quiet.http.get(quiet.url + PATH, params={"state": "resolved"}) as response:
        (only,) = (await response.json())["alerts"]
    assert (only["rule"], only["state"], only["lane"]) == ("r4", "ALERT_STATE_RESOLVED", "PRIORITY_LOW")
    assert only["endTime"] > only["startTime"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("state=bad", "STATE_UNKNOWN"),
        ("page_size=x", "PAGE_SIZE_OUT_OF_RANGE"),
        ("page_size=1001", "PAGE_SIZE_OUT_OF_RANGE"),
        ("page_token=x", "PAGE_TOKEN_MALFORMED"),
        ("sort=x", "PARAMETER_UNKNOWN"),
    ],
)
async def test_bad_questions_are_refused(quiet: Any, query: str, reason: str) -> None:
    async with quiet.http.get(f"{quiet.url}{PATH}?{query}") as response:
        assert (response.status, (await response.json())["reason"]) == (400, reason)


async def test_watch_tells_what_is_open_and_then_each_change(quiet: Any) -> None:
    fire(quiet)
    call = quiet.metrics.WatchAlerts(metrics_pb2.WatchAlertsRequest())
    assert (await call.read()).alert.state == metrics_pb2.ALERT_STATE_FIRING
    fire(quiet, holds=False)
    resolved = (await call.read()).alert
    assert (resolved.state, resolved.lane) == (metrics_pb2.ALERT_STATE_RESOLVED, event_pb2.PRIORITY_LOW)
    quiet.service._grpc_streams.drain()
    with pytest.raises(grpc.aio.AioRpcError, match="going away"):
        await call.read()


async def test_the_event_stream_has_alerts_although_figures_come_seldom(quiet: Any) -> None:
    url = f"{quiet.url}/api/v1/websocket-performance/stream?interval=60s"
    async with quiet.http.get(url) as response:
        while (await response.content.readline()) != b"event: metrics\n":
            pass
        fire(quiet)
        while (await response.content.readline()) != b"event: alert\n":
            pass
        data = await response.content.readline()
    assert json.loads(data.removeprefix(b"data: "))["summary"] == "It is wrong."


async def test_acknowledge_over_both(quiet: Any) -> None:
    alert = fire(quiet)
    request = metrics_pb2.AcknowledgeAlertRequest(id=alert.id, actor="kim", comment="on it")
    request.silence.FromSeconds(60)
    found = (await quiet.metrics.AcknowledgeAlert(request)).alert
    assert found.acknowledged_by == "kim"
    assert found.silenced_until.seconds > found.start_time.seconds
    async with quiet.http.post(quiet.url + PATH, json={"id": alert.id, "actor": "lee"}) as response:
        assert (await response.json())["alert"]["acknowledgedBy"] == "lee"
    fire(quiet, holds=False)
    async with quiet.http.post(quiet.url + PATH, json={"id": alert.id, "actor": "lee"}) as response:
        assert (response.status, (await response.json())["reason"]) == (409, "ALERT_RESOLVED")
    with pytest.raises(grpc.aio.AioRpcError, match="there is no alert") as caught:
        await quiet.metrics.AcknowledgeAlert(metrics_pb2.AcknowledgeAlertRequest(id="x", actor="kim"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ({"json": {}, "headers": {"Origin": "http://evil.example"}}, 403, "FOREIGN_REQUEST"),
        ({"json": {}, "headers": {"Sec-Fetch-Site": "cross-site"}}, 403, "FOREIGN_REQUEST"),
        ({"data": "{}", "headers": {"Content-Type": "text/plain"}}, 400, "CONTENT_TYPE"),
        ({"data": {"id": "x"}}, 400, "CONTENT_TYPE"),
        ({"data": "{", "headers": {"Content-Type": "application/json"}}, 400, "BODY_MALFORMED"),
        ({"json": {"who": "x"}}, 400, "BODY_MALFORMED"),
        ({"json": {"comment": "x" * 5000}}, 400, "BODY_TOO_LARGE"),
        ({"json": {"id": "x"}}, 400, "ACTOR_INVALID"),
        ({"json": {"id": "x", "actor": "kim"}}, 404, "ALERT_NOT_FOUND"),
    ],
)
async def test_others_change_nothing(quiet: Any, options: Any, status: int, reason: str) -> None:
    alert = fire(quiet)
    async with quiet.http.post(quiet.url + PATH, **options) as response:
        assert (response.status, (await response.json())["reason"]) == (status, reason)
    assert quiet.service.watch.newest()[0].acknowledged_by == alert.acknowledged_by == ""
    assert alert.state is State.FIRING
