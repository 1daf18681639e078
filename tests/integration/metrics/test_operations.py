"""What operators do with a whole running system: publisher, gateway and metrics_svc with real sockets between them."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate as validate_openapi
from websockets.asyncio.client import ClientConnection, connect

from gateway_svc.app import Gateway
from gateway_svc.config import GatewayConfig
from lanecast import AsyncPublisher, Priority
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.instruments import Instruments
from lanecast.errors import PublishError
from lanecast.internal.v1 import agent_pb2
from lanecast.runtime.otlp import OtlpExporter
from lanecast.runtime.tokens import issue, load_or_create_key
from lanecast.v1 import admin_pb2, admin_pb2_grpc, metrics_pb2
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, ServerFrame, Subscribe
from metrics_svc import openapi
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig

API = "/api/v1/websocket-performance"
PERF = f"{API}/performance-test"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class System:
    """Publisher, two gateways and metrics_svc."""

    def __init__(self, running: Any, publisher: str, gateways: list[str], key: str) -> None:
        self.running = running
        self.publisher = publisher
        self.gateways = gateways
        self.key = key
        self.admin = admin_pb2_grpc.AdminServiceStub(running.channel)

    @asynccontextmanager
    async def subscriber(self, channel: str, gateway: int = 0, subject: str = "page") -> AsyncIterator[Subscriber]:
        async with connect(
            f"ws://{self.gateways[gateway]}/v1/ws", subprotocols=["lanecast.v1.proto"], compression=None, proxy=None
        ) as connection:  # type: ignore[list-item]
            client = Subscriber(connection)
            await client.send(ClientFrame(hello=Hello(token=issue(self.key, ["*"], subject=subject))))
            client.session = (await client.expect("welcome")).welcome.session
            await client.send(ClientFrame(subscribe=Subscribe(channel=channel)))
            yield client

    async def publish(self, channel: str, count: int = 1, **options: Any) -> None:
        async with AsyncPublisher(self.publisher, **options) as publisher:
            for _ in range(count):
                await publisher.publish(channel, ConciergeInsight(text="hello"), priority=Priority.HIGH)

    async def text(self, path: str) -> str:
        async with self.running.http.get(self.running.url + path) as response:
            return str(await response.text())

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = json.dumps(body or {})
        async with self.running.http.post(
            self.running.url + path, data=data, headers={"Content-Type": "application/json", **headers}
        ) as response:
            return response.status, json.loads(await response.text())


class Subscriber:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.session = ""

    async def send(self, frame: ClientFrame) -> None:
        await self.connection.send(frame.SerializeToString())

    async def expect(self, kind: str) -> ServerFrame:
        while True:
            frame = ServerFrame.FromString(await self.connection.recv())  # type: ignore[arg-type]
            if frame.WhichOneof("frame") == kind:
                return frame


@pytest.fixture
async def system(start: Any, tmp_path: Path) -> AsyncIterator[System]:
    port = free_port()
    target = f"127.0.0.1:{port}"
    publisher = PublisherApp(
        PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.1, metrics_target=target, instance="p1")
    )
    address = str((await publisher.start())["address"])
    gateways = [
        Gateway(
            GatewayConfig(
                data_dir=tmp_path,
                port=0,
                publisher_targets=(address,),
                drain_seconds=0.1,
                metrics_target=target,
                instance=f"g{number}",
            )
        )
        for number in (1, 2)
    ]
    addresses = [str((await gateway.start())["address"]) for gateway in gateways]
    urls = tuple(f"ws://{each}/v1/ws" for each in addresses)
    running = await start(port=port, gateway_urls=urls, publisher_targets=(address,))
    for gateway in gateways:
        await gateway.upstream.wait_connected()
    await attached(running, "gateway_svc/g1", "gateway_svc/g2", "publisher_svc/p1")
    yield System(running, address, addresses, load_or_create_key(tmp_path))
    for gateway in gateways:
        await gateway.drain()
    await publisher.drain()


async def attached(running: Any, *names: str) -> None:
    while not {*names} <= {process.name for process in running.service._agents.processes}:
        await asyncio.sleep(0.01)


def perf_request(**options: Any) -> metrics_pb2.RunPerformanceTestRequest:
    fields: dict[str, Any] = {"events_per_second": 200, "duration": Duration(seconds=1), "subscribers": 4, **options}
    return metrics_pb2.RunPerformanceTestRequest(**fields)


# Performance tests


async def test_every_synthetic_event_comes_back_and_users_figures_do_not_notice(system: System) -> None:
    responses = [each async for each in system.running.metrics.RunPerformanceTest(perf_request())]
    result = responses[-1]
    assert len(responses) > 1
    assert all(not each.grade for each in responses[:-1])
    assert (result.planned, result.sent, result.received) == (200, 200, 200)
    assert (result.lost, result.duplicated, result.rejected) == (0, 0, 0)
    assert result.grade
    server = [one for one in result.figures if one.scope == metrics_pb2.LATENCY_SCOPE_SERVER]
    assert sum(one.count for one in server) == 200
    for lane in {one.lane for one in server}:
        # The hops add up to the whole: their means, as they are counted of the same events.
        figures = {(one.scope, one.hop): one for one in result.figures if one.lane == lane}
        hops = [one for (_, hop), one in figures.items() if hop > metrics_pb2.HOP_INGEST]
        whole = figures[metrics_pb2.LATENCY_SCOPE_SERVER, metrics_pb2.HOP_UNSPECIFIED]
        assert sum(one.mean_seconds for one in hops) == pytest.approx(whole.mean_seconds, rel=1e-3)
    while (text := await system.text("/metrics")).count("lanecast_synthetic_delivered_total{") < len(server):
        await asyncio.sleep(0.05)
    assert "lanecast_synthetic_accepted_total{" in text
    for name in ("lanecast_event_accepted_total{", "lanecast_event_delivered_total{", "lanecast_delivery_duration"):
        assert name not in text
    channels = await system.admin.ListChannels(admin_pb2.ListChannelsRequest())
    assert not channels.channels


async def test_only_one_test_runs_at_a_time_and_it_ends_when_its_caller_goes(system: System) -> None:
    call = system.running.metrics.RunPerformanceTest(perf_request(duration=Duration(seconds=60)))
    first = await call.read()
    assert first.id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await system.running.metrics.RunPerformanceTest(perf_request()).read()
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert first.id in (caught.value.details() or "")
    status, body = await system.post(PERF)
    assert (status, body["reason"]) == (409, "PERF_TEST_RUNNING")
    call.cancel()
    while system.running.service._performance.running:
        await asyncio.sleep(0.01)
    second = [each async for each in system.running.metrics.RunPerformanceTest(perf_request())]
    assert second[-1].received == 200


async def test_over_http_progress_is_a_stream_of_events_and_closing_it_ends_the_test(system: System) -> None:
    async with system.running.http.post(
        system.running.url + PERF, json={"eventsPerSecond": 100, "duration": "1s", "subscribers": 2}
    ) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = (await response.text()).splitlines()
    kinds = [line.partition(": ")[2] for line in lines if line.startswith("event: ")]
    assert set(kinds[:-1]) == {"progress"}
    assert kinds[-1] == "result"
    result = json.loads([line for line in lines if line.startswith("data: ")][-1][6:])
    assert (result["received"], result["lost"]) == ("100", "0")
    async with system.running.http.post(system.running.url + PERF, json={"duration": "60s"}) as response:
        await response.content.readline()
        assert system.running.service._performance.running
    while system.running.service._performance.running:
        await asyncio.sleep(0.01)


async def test_a_test_that_cannot_be_run_says_why(start: Any) -> None:
    running = await start(publisher_targets=(f"127.0.0.1:{free_port()}",))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.metrics.RunPerformanceTest(perf_request()).read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "cannot reach a publisher" in (caught.value.details() or "")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.metrics.RunPerformanceTest(perf_request(subscribers=1001)).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "subscribers is 1,001: use 1 to 1,000" in (caught.value.details() or "")


async def test_a_gateway_that_is_away_is_named(start: Any, tmp_path: Path) -> None:
    publisher = PublisherApp(PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.1))
    address = str((await publisher.start())["address"])
    url = f"ws://127.0.0.1:{free_port()}/v1/ws"
    running = await start(publisher_targets=(address,), perf_gateway_urls=(url,))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.metrics.RunPerformanceTest(perf_request()).read()
    assert url in (caught.value.details() or "")
    await publisher.drain()


async def test_users_can_neither_publish_nor_subscribe_to_the_channels_of_tests(system: System) -> None:
    channel = "$lanecast:perf:x:0"
    for token in (None, issue(system.key, [], publish=["*"])):
        with pytest.raises(PublishError) as caught:
            await system.publish(channel, token=token)
        assert caught.value.reason in {"CHANNEL_RESERVED", "CHANNEL_FORBIDDEN"}
    async with system.subscriber(channel) as client:
        error = (await client.expect("error")).error
    assert (error.reason, error.channel) == ("CHANNEL_FORBIDDEN", channel)


# Channels and sessions


async def test_channels_are_put_together_from_publisher_and_gateways(system: System) -> None:
    async with system.subscriber("agent:1"), system.subscriber("agent:1", 1), system.subscriber("agent:2", 1) as last:
        await last.expect("subscribed")
        await system.publish("agent:1", 3)
        await system.publish("agent:9", 5)
        orders = {}
        for order in (admin_pb2.CHANNEL_ORDER_RATE, admin_pb2.CHANNEL_ORDER_SUBSCRIBERS):
            answer = await system.admin.ListChannels(admin_pb2.ListChannelsRequest(order_by=order))
            orders[order] = [(one.channel, one.subscribers, bool(one.events_per_second)) for one in answer.channels]
            assert list(answer.unanswered) == []
        assert orders[admin_pb2.CHANNEL_ORDER_RATE] == [("agent:9", 0, True), ("agent:1", 2, True)]
        assert orders[admin_pb2.CHANNEL_ORDER_SUBSCRIBERS] == [("agent:1", 2, True), ("agent:2", 1, False)]
        body = json.loads(await system.text(f"{API}/channels?order=subscribers&page_size=1"))
        assert [one["channel"] for one in body["channels"]] == ["agent:1"]
        assert body["channels"][0]["heads"][0]["lane"] == "PRIORITY_HIGH"


async def test_sessions_come_in_pages_over_all_gateways_and_by_subject(system: System) -> None:
    async with (
        system.subscriber("agent:1") as one,
        system.subscriber("agent:1", 1) as two,
        system.subscriber("agent:1", subject="desk") as three,
    ):
        ids = [one.session, two.session, three.session]
        found, token = [], ""
        while True:
            answer = await system.admin.ListSessions(admin_pb2.ListSessionsRequest(page_size=2, page_token=token))
            found += answer.sessions
            token = answer.next_page_token
            if not token:
                break
        assert [session.id for session in found] == sorted(ids)
        by_id = {session.id: session for session in found}
        assert [by_id[each].gateway for each in ids] == ["g1", "g2", "g1"]
        assert by_id[one.session].subprotocol == "lanecast.v1.proto"
        body = json.loads(await system.text(f"{API}/sessions?subject=desk"))
        assert [session["id"] for session in body["sessions"]] == [three.session]


async def test_a_session_is_closed_with_the_reason_and_an_audit_line(
    system: System, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with system.subscriber("agent:1", 1) as client:
        request = admin_pb2.DisconnectSessionRequest(id=client.session, reason="rack 4\nmoves")
        await system.admin.DisconnectSession(request)
        error = (await client.expect("error")).error
        assert (error.code, error.message) == (3005, "rack 4\\nmoves")
        await client.connection.wait_closed()
        assert client.connection.close_code == 3005
        status, body = await system.post(f"{API}/sessions/{client.session}/disconnect", {"reason": "again"})
        assert (status, body["reason"]) == (404, "SESSION_NOT_FOUND")
    audits = [record.getMessage() for record in caplog.records if record.getMessage().startswith("audit: ")]
    told = [line for line in audits if client.session in line and "'page'" in line and "rack 4\\nmoves" in line]
    assert len(told) == 2, audits  # the gateway's and metrics_svc's
    assert any("ipv4:127.0.0.1" in line for line in told)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await system.admin.DisconnectSession(admin_pb2.DisconnectSessionRequest(id="x"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_gateway_that_does_not_answer_is_named(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics_svc.agents.ANSWER_SECONDS", 0.2)
    attach = running.channel.stream_stream(
        "/lanecast.internal.v1.AgentService/Attach",
        request_serializer=agent_pb2.AttachRequest.SerializeToString,
        response_deserializer=agent_pb2.AttachResponse.FromString,
    )
    silent = attach()
    await silent.write(agent_pb2.AttachRequest(hello=agent_pb2.AgentHello(service="gateway_svc", instance="g8")))
    await attached(running, "gateway_svc/g8")
    exporter = OtlpExporter(Instruments(), running.target, service="gateway_svc", instance="g9")
    assert await exporter.export()
    await exporter.close()
    admin = admin_pb2_grpc.AdminServiceStub(running.channel)
    expected = ["gateway_svc/g8", "gateway_svc/g9"]
    assert list((await admin.ListSessions(admin_pb2.ListSessionsRequest())).unanswered) == expected
    assert list((await admin.ListChannels(admin_pb2.ListChannelsRequest(order_by=3))).unanswered) == expected
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.DisconnectSession(admin_pb2.DisconnectSessionRequest(id="0" * 32))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    silent.cancel()
    while running.service._agents.processes:
        await asyncio.sleep(0.01)


async def test_an_agent_that_does_not_say_who_it_is_is_refused(running: Any) -> None:
    attach = running.channel.stream_stream(
        "/lanecast.internal.v1.AgentService/Attach",
        request_serializer=agent_pb2.AttachRequest.SerializeToString,
        response_deserializer=agent_pb2.AttachResponse.FromString,
    )
    call = attach()
    await call.write(agent_pb2.AttachRequest(answer=agent_pb2.AgentAnswer(question=1)))
    with pytest.raises(grpc.aio.AioRpcError, match="must be `hello`"):
        await call.read()


async def test_gateways_come_back_after_metrics_was_away(start: Any, tmp_path: Path) -> None:
    port = free_port()
    gateway = Gateway(
        GatewayConfig(data_dir=tmp_path, port=0, drain_seconds=0.1, metrics_target=f"127.0.0.1:{port}", instance="g1")
    )
    await gateway.start()
    first = await start(port=port)
    await attached(first, "gateway_svc/g1")
    await first.service.drain()
    second = await start(port=port)
    await attached(second, "gateway_svc/g1")
    await gateway.drain()


# Reports


async def test_a_request_id_makes_one_report_even_at_the_same_time_and_after_a_restart(start: Any) -> None:
    running = await start()
    request = metrics_pb2.CreateReportRequest(request_id=str(uuid.uuid4()), title="Week 7")
    made = await asyncio.gather(*(running.metrics.CreateReport(request) for _ in range(3)))
    assert len({each.report.SerializeToString(deterministic=True) for each in made}) == 1
    await running.service.drain()
    again = await start()
    found = await again.metrics.GetReport(metrics_pb2.GetReportRequest(id=request.request_id))
    assert found.report == made[0].report
    assert (await again.metrics.CreateReport(request)).report == made[0].report
    listed = (await again.metrics.ListReports(metrics_pb2.ListReportsRequest())).reports
    assert [(each.id, each.title, each.html) for each in listed] == [(request.request_id, "Week 7", "")]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await again.metrics.GetReport(metrics_pb2.GetReportRequest(id=str(uuid.uuid4())))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    for bad in ({"request_id": "x"}, {"request_id": "../../dev.key"}, {"title": "x" * 201}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await again.metrics.CreateReport(metrics_pb2.CreateReportRequest(**bad))  # type: ignore[arg-type]
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_reports_over_http_in_each_form_and_the_oldest_go(start: Any) -> None:
    running = await start(max_reports=2)
    ids = []
    for kind in ("REPORT_KIND_PERFORMANCE", "REPORT_KIND_SLA", "REPORT_KIND_SLA"):
        async with running.http.post(f"{running.url}{API}/reports", json={"kind": kind}) as response:
            ids.append((await response.json())["report"]["id"])
    async with running.http.get(f"{running.url}{API}/reports") as response:
        assert [each["id"] for each in (await response.json())["reports"]] == [ids[2], ids[1]]
    for form, media, beginning in (("html", "text/html", "<!doctype html>"), ("md", "text/markdown", "# Service"),
                                   ("json", "application/json", '{"kind":"sla"')):  # fmt: skip
        async with running.http.get(f"{running.url}{API}/reports/{ids[1]}?format={form}") as response:
            assert response.content_type == media
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert (await response.text()).startswith(beginning)
    async with running.http.get(f"{running.url}{API}/reports/{ids[0]}") as response:
        assert response.status == 404


async def test_a_scheduled_report_is_made_once(start: Any) -> None:
    now = [1_700_000_000 * 10**9]
    running = await start(report_schedule=())
    reports = running.service._reports
    reports._clock_ns = lambda: now[0]
    assert await reports.make_scheduled("daily") is None  # nothing is known of yesterday
    reports._history.reaches = lambda before: True  # type: ignore[method-assign]
    first = await reports.make_scheduled("daily")
    assert first.end_time.seconds % 86_400 == 0
    assert (await reports.make_scheduled("daily")).id == first.id
    now[0] += 86_400 * 10**9
    assert (await reports.make_scheduled("daily")).id != first.id
    assert len(await reports.newest(10)) == 2


# The HTTP API as a whole


async def test_the_openapi_document_is_valid_and_lists_exactly_the_routes(running: Any) -> None:
    async with running.http.get(f"{running.url}/api/v1/openapi.json") as response:
        document = await response.json()
    validate_openapi(document)
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in running.service._http._app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api/v1/")
    }
    assert described == served


async def test_answers_have_the_form_that_the_document_says(system: System) -> None:
    document = openapi.document()

    def check(path: str, method: str, status: int, body: Any) -> None:
        answer = document["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]
        schema = {**answer, "components": document["components"]}
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(body)

    async with system.subscriber("agent:1") as client:
        await client.expect("subscribed")
        await system.publish("agent:1", 3)
        await client.expect("events")
        while '"figures": []' in await system.text(f"{API}/latency-metrics"):
            await asyncio.sleep(0.05)
        for path in ("latency-metrics", "throughput-metrics", "optimization-status", "grade", "channels", "sessions"):
            check(f"{API}/{path}", "get", 200, json.loads(await system.text(f"{API}/{path}")))
            check(f"{API}/{path}", "get", 400, json.loads(await system.text(f"{API}/{path}?nonsense=1")))
        status, body = await system.post(f"{API}/reports", {})
        check(f"{API}/reports", "post", status, body)
        check(f"{API}/reports", "get", 200, json.loads(await system.text(f"{API}/reports")))
        one = f"{API}/reports/{body['report']['id']}"
        check(f"{API}/reports/{{id}}", "get", 200, json.loads(await system.text(one)))
        for bad, expected in ((f"{API}/reports/x", 400), (f"{API}/reports/{uuid.uuid4()}", 404)):
            check(f"{API}/reports/{{id}}", "get", expected, json.loads(await system.text(bad)))
        path = f"{API}/sessions/{{id}}/disconnect"
        for headers, expected in (({"Origin": "http://evil.example"}, 403), ({}, 200), ({}, 404)):
            status, body = await system.post(path.replace("{id}", client.session), {"reason": "test"}, **headers)
            assert status == expected
            check(path, "post", status, body)
    for body, expected in (({"eventsPerSecond": 0.5}, 400), ({"nonsense": 1}, 400), ({"subscribers": 5000}, 400)):
        status, answer = await system.post(PERF, body)
        assert status == expected
        check(PERF, "post", status, answer)
