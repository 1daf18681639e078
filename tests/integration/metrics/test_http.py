"""The HTTP port as a page, a script and Prometheus see it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from lanecast.core import instruments as names
from lanecast.core.instruments import Instruments
from lanecast.runtime import tokens
from lanecast.runtime.otlp import OtlpExporter

API = "/api/v1/websocket-performance"


async def feed(target: str) -> None:
    instruments = Instruments()
    for _ in range(100):
        instruments.sketch(names.DELIVERY_DURATION, lane="CRITICAL", scope="server").record_ns(400_000)
    instruments.counter(names.EVENT_DELIVERED, lane="CRITICAL").add(100)
    exporter = OtlpExporter(instruments, target, service="gateway_svc", instance="g1")
    assert await exporter.export()
    await exporter.close()


async def get(running: Any, path: str, **options: Any) -> tuple[int, Any, Any]:
    async with running.http.get(running.url + path, **options) as response:
        body = await response.text()
        kind = response.headers.get("Content-Type", "")
        return response.status, json.loads(body) if "json" in kind else body, response.headers


async def test_latency_is_protojson_of_the_same_response(running: Any) -> None:
    await feed(running.target)
    status, body, headers = await get(running, f"{API}/latency-metrics?window=30s&lanes=critical")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    (figure,) = body["figures"]
    assert (figure["lane"], figure["scope"], figure["count"]) == ("PRIORITY_CRITICAL", "LATENCY_SCOPE_SERVER", "100")
    assert figure["p99Seconds"] == pytest.approx(0.0004, rel=0.006)
    assert (figure["budgetSeconds"], figure["withinBudget"]) == (0.001, 1.0)


async def test_throughput_status_and_grade_answer(running: Any) -> None:
    status, body, _ = await get(running, f"{API}/throughput-metrics")
    assert (status, body["connections"]) == (200, "0")
    for path in ("optimization-status", "grade"):
        status, body, _ = await get(running, f"{API}/{path}?window=1m")
        assert (status, body["grade"], len(body["lanes"])) == (200, "GRADE_UNSPECIFIED", 4)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("window=soon", "DURATION_MALFORMED"),
        ("window=0s", "WINDOW_OUT_OF_RANGE"),
        ("window=31d", "WINDOW_OUT_OF_RANGE"),
        ("window=1s&window=2s", "PARAMETER_REPEATED"),
        ("lanes=URGENT", "LANE_UNKNOWN"),
        ("types=a%20b", "TYPE_MALFORMED"),
        ("arm=third", "ARM_UNKNOWN"),
        ("windw=1s", "PARAMETER_UNKNOWN"),
    ],
)
async def test_bad_input_is_400_with_code_reason_and_message(running: Any, query: str, reason: str) -> None:
    for path in ("latency-metrics", "throughput-metrics", "stream"):
        status, body, _ = await get(running, f"{API}/{path}?{query}")
        assert (status, body["code"], body["reason"]) == (400, 3, reason)
        assert (
            "use" in body["message"]
            or "write" in body["message"]
            or "not the full name" in body["message"]
            or ("more than once" in body["message"])
        )


async def test_other_paths_and_methods_are_refused(running: Any) -> None:
    status, body, _ = await get(running, "/api/v1/nothing")
    assert (status, body["code"], body["reason"]) == (404, 5, "NOT_FOUND")
    async with running.http.post(running.url + f"{API}/grade") as response:
        assert response.status == 405


async def next_event(response: Any) -> dict[str, str]:
    event: dict[str, str] = {}
    async for line in response.content:
        text = line.decode().rstrip("\n")
        if not text and event:
            return event
        name, _, value = text.partition(": ")
        event[name] = value
    return event


async def test_stream_sends_what_watch_would_and_ends_on_drain(running: Any) -> None:
    await feed(running.target)
    url = f"{running.url}{API}/stream?interval=100ms&window=30s&lanes=CRITICAL"
    async with running.http.get(url) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert await next_event(response) == {"retry": "2000"}
        for number in range(3):
            event = await next_event(response)
            assert (event["id"], event["event"]) == (str(number), "metrics")
            assert json.loads(event["data"])["latency"]["figures"][0]["count"] == "100"
        running.service._http_streams.drain()
        seen = await next_event(response)
        while seen["event"] == "metrics":
            seen = await next_event(response)
        assert seen == {"event": "drain", "data": "{}"}
        assert await next_event(response) == {}
    status, body, headers = await get(running, f"{API}/stream")
    assert (status, body["reason"], headers["Retry-After"]) == (503, "DRAINING", "1")


async def test_streams_are_bounded_and_a_closed_one_makes_room(start: Any) -> None:
    running = await start(max_streams=2)
    url = f"{running.url}{API}/stream?interval=100ms"
    one, two = await running.http.get(url), await running.http.get(url)
    status, body, headers = await get(running, f"{API}/stream")
    assert (status, body["code"], body["reason"], headers["Retry-After"]) == (429, 8, "TOO_MANY_STREAMS", "5")
    one.close()
    while running.service._http_streams.open == 2:
        await next_event(two)
    async with running.http.get(url) as three:
        assert three.status == 200
    two.close()


async def test_a_quiet_stream_sends_heartbeats(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metrics_svc.http_api.HEARTBEAT_SECONDS", 0.05)
    async with running.http.get(f"{running.url}{API}/stream?interval=60s") as response:
        lines = [line async for line in _first_lines(response, 9)]
    assert lines.count(b": heartbeat\n") >= 1


async def _first_lines(response: Any, number: int) -> Any:
    for _ in range(number):
        yield await response.content.readline()


async def test_drain_ends_open_streams_and_the_service_stops(start: Any) -> None:
    running = await start()
    async with running.http.get(f"{running.url}{API}/stream?interval=60s") as response:
        await next_event(response)
        await next_event(response)
        draining = asyncio.create_task(running.service.drain())
        assert await next_event(response) == {"event": "drain", "data": "{}"}
        await draining


async def test_session_gives_a_local_page_a_token_for_its_channels(start: Any, tmp_path: Path) -> None:
    running = await start(gateway_urls=("ws://127.0.0.1:7999/v1/ws",), page_channels=("agent:*", "bots:handoffs"))
    status, body, headers = await get(running, "/api/v1/session")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert body["gatewayUrls"] == ["ws://127.0.0.1:7999/v1/ws"]
    assert body["channels"] == ["agent:*", "bots:handoffs"]
    identity = tokens.verify((tmp_path / tokens.KEY_FILE).read_text(), body["token"])
    assert identity.lanes_for("agent:42")
    assert not identity.lanes_for("analytics:valuations")
    assert "Access-Control-Allow-Origin" not in headers
    localhost = running.url.replace("127.0.0.1", "localhost")
    status, _, _ = await get(running, "/api/v1/session", headers={"Origin": localhost, "Host": localhost[7:]})
    assert status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.evil.example:7480"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_session_gives_others_nothing(running: Any, headers: dict[str, str]) -> None:
    status, body, _ = await get(running, "/api/v1/session", headers=headers)
    assert (status, body["code"], body["reason"]) == (403, 7, "NOT_LOCAL")
    assert "token" not in body


async def test_session_can_be_turned_off(start: Any, tmp_path: Path) -> None:
    running = await start(session_page=False)
    status, body, _ = await get(running, "/api/v1/session")
    assert (status, body["reason"]) == (403, "SESSION_PAGE_OFF")
    assert not (tmp_path / tokens.KEY_FILE).exists()


@pytest.fixture
def built(tmp_path: Path) -> Path:
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>Lanecast</title>")
    (page / "sw.js").write_text("self.x = 1")
    (page / "manifest.webmanifest").write_text("{}")
    (page / "assets" / "index-Ab3_x9Zk.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("secret")
    return page


async def test_the_built_page_is_served_with_types_caching_and_security(start: Any, built: Path) -> None:
    running = await start(built)
    expected = {
        "/": ("text/html; charset=utf-8", "no-cache"),
        "/agents/42": ("text/html; charset=utf-8", "no-cache"),
        "/sw.js": ("text/javascript; charset=utf-8", "no-cache"),
        "/manifest.webmanifest": ("application/manifest+json", "no-cache"),
        "/assets/index-Ab3_x9Zk.js": ("text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
    }
    for path, (kind, caching) in expected.items():
        async with running.http.get(running.url + path) as response:
            assert (response.status, response.headers["Content-Type"]) == (200, kind)
            assert response.headers["Cache-Control"] == caching
            assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert (
                "connect-src 'self' http://127.0.0.1:7401 ws://127.0.0.1:7401;"
                in (response.headers["Content-Security-Policy"])
            )
    status, _, _ = await get(running, "/assets/gone.js")
    assert status == 404


async def test_nothing_outside_the_page_is_served(start: Any, built: Path) -> None:
    running = await start(built)
    host, port = running.url.removeprefix("http://").split(":")
    for path in ("/../secret.txt", "/assets/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert b"secret" not in answer.partition(b"\r\n\r\n")[2]


async def test_a_page_that_was_not_built_says_how(running: Any) -> None:
    status, body, headers = await get(running, "/")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert "npm run build" in body


async def test_prometheus_and_health(running: Any) -> None:
    await feed(running.target)
    status, body, headers = await get(running, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'lanecast_event_delivered_total{lane="CRITICAL"} 100\n' in body
    assert (await get(running, "/healthz"))[:2] == (200, {"status": "ok"})
    assert (await get(running, "/readyz"))[:2] == (200, {"status": "ready"})
    running.service._http.drain()
    status, body, _ = await get(running, "/readyz")
    assert (status, body["reason"]) == (503, "DRAINING")


async def test_an_unexpected_failure_shows_no_traceback(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(running.service._queries, "latency", fail)
    status, body, _ = await get(running, f"{API}/latency-metrics")
    assert (status, body["code"], body["reason"]) == (500, 13, "INTERNAL")
    assert "secret" not in body["message"]
