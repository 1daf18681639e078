"""What the dashboard reads besides figures: history, the grade and rollouts on the stream, the policy in force."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from lanecast.core import instruments as names
from lanecast.core.instruments import Instruments
from lanecast.runtime.otlp import OtlpExporter
from lanecast.v1 import metrics_pb2

API = "/api/v1/websocket-performance"
AGENT = {"baselinePolicy": "legacy-500ms", "candidatePolicy": "default"}


async def feed(target: str) -> None:
    instruments = Instruments()
    for micros in range(1, 101):
        instruments.sketch(names.DELIVERY_DURATION, lane="HIGH", scope="server").record_ns(micros * 100_000)
    instruments.counter(names.EVENT_DELIVERED, lane="HIGH").add(100)
    exporter = OtlpExporter(instruments, target, service="gateway_svc", instance="g1")
    assert await exporter.export()
    await exporter.close()


async def post(running: Any, path: str, body: Any) -> tuple[int, Any]:
    async with running.http.post(running.url + API + path, json=body) as response:
        return response.status, await response.json()


async def events(response: Any, wanted: str) -> Any:
    """Yield the data of each event of one name."""
    name = ""
    async for line in response.content:
        kind, _, value = line.decode().rstrip("\n").partition(": ")
        if kind == "event":
            name = value
        elif kind == "data" and name == wanted:
            yield json.loads(value)


async def test_history_has_the_same_figures_over_grpc_and_http(start: Any) -> None:
    running = await start(clock_ns=lambda: time.time_ns() + 3_000_000_000)  # so that what is fed lies in the past
    await feed(running.target)
    async with running.http.get(f"{running.url}{API}/history?window=2m") as response:
        body = await response.json()
    assert body["step"] == "1s"
    (figure,) = [figure for point in body["points"] for figure in point["figures"] if figure["count"] != "0"]
    assert (figure["lane"], figure["count"]) == ("PRIORITY_HIGH", "100")
    assert figure["p50Seconds"] == pytest.approx(0.005, rel=0.02)
    assert figure["withinBudget"] == pytest.approx(0.5, abs=0.02)
    answer = await running.metrics.GetHistory(metrics_pb2.GetHistoryRequest(window=Duration(seconds=120)))
    assert [one.count for point in answer.points for one in point.figures if one.count] == [100]


async def test_a_history_that_is_too_long_is_refused(running: Any) -> None:
    async with running.http.get(f"{running.url}{API}/history?window=60d") as response:
        assert (response.status, (await response.json())["reason"]) == (400, "WINDOW_OUT_OF_RANGE")


async def test_the_stream_has_grade_and_rollouts_for_who_asks(running: Any) -> None:
    url = f"{running.url}{API}/stream?interval=100ms&include=status,rollouts"
    async with running.http.get(url) as response:
        async for status in events(response, "status"):
            assert (status["grade"], len(status["lanes"])) == ("GRADE_UNSPECIFIED", 4)
            break
        _, created = await post(running, "/rollouts", {"requestId": "one", "plan": AGENT, "actor": "kim"})
        rollouts = events(response, "rollout")
        first = await anext(rollouts)
        assert (first["id"], first["state"]) == (created["rollout"]["id"], "ROLLOUT_STATE_DRAFT")
        assert first["legalVerbs"] == ["start", "cancel"]
        await post(running, f"/rollouts/{first['id']}/cancel", {"context": {"actor": "kim", "reason": "not now"}})
        assert (await anext(rollouts))["state"] == "ROLLOUT_STATE_CANCELLED"


async def test_an_unknown_part_of_the_stream_is_refused(running: Any) -> None:
    async with running.http.get(f"{running.url}{API}/stream?include=gossip") as response:
        body = await response.json()
    assert (response.status, body["reason"]) == (400, "PART_UNKNOWN")
    assert "use status, rollouts" in body["message"]


async def test_without_a_publisher_no_policy_is_in_force(running: Any) -> None:
    async with running.http.get(f"{running.url}{API}/policies") as response:
        body = await response.json()
    assert (body["inForce"], [policy["name"] for policy in body["policies"]]) == ([], ["default", "legacy-500ms"])
