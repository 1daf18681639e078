"""Long polls against a running gateway."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fake_publisher import FakePublisher, fake_publisher
from gateway_client import PROTO, Running, running_gateway

from lanecast.core.priority import Priority

ORIGIN = "http://app.example"


@pytest.fixture
async def publisher() -> AsyncIterator[FakePublisher]:
    async with fake_publisher() as made:
        yield made


@pytest.fixture
async def gateway(tmp_path: Path, publisher: FakePublisher) -> AsyncIterator[Running]:
    async with running_gateway(tmp_path, [publisher.target], allowed_origins=(ORIGIN,)) as made:
        yield made


async def ask(gateway: Running, query: str, token: str | None = None, *headers: str) -> tuple[int, Any]:
    bearer = gateway.token() if token is None else token
    lines = "".join(f"{each}\r\n" for each in (f"Authorization: Bearer {bearer}", *headers))
    answer = await gateway.request(f"GET /v1/poll?{query} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body) if b"application/json" in head else head.decode()


def offsets(body: Any) -> list[int]:
    return [int(e["offset"]) for each in body["frames"] if "events" in each for e in each["events"]["events"]]


async def test_a_poll_waits_for_news_and_the_next_one_goes_on_behind_them(
    gateway: Running, publisher: FakePublisher
) -> None:
    status, first = await ask(gateway, "channel=agent:42&wait=0.2")
    assert (status, offsets(first)) == (200, [])

    waiting = asyncio.create_task(ask(gateway, f"channel=agent:42&after={first['next']}"))
    (one,) = publisher.publish("agent:42", Priority.CRITICAL, "one")
    _, second = await waiting
    assert offsets(second) == [one.offset]

    two, three = publisher.publish("agent:42", Priority.CRITICAL, "two", "three")
    _, third = await ask(gateway, f"channel=agent:42&after={second['next']}")
    assert offsets(third) == [two.offset, three.offset]


async def test_a_poll_without_a_cursor_begins_where_it_asks_to(gateway: Running, publisher: FakePublisher) -> None:
    stored = publisher.publish("agent:42", Priority.CRITICAL, "one", "two", "three")
    _, body = await ask(gateway, "channel=agent:42&start=LAST_N&last=2")
    assert offsets(body) == [event.offset for event in stored[1:]]
    _, rest = await ask(gateway, f"channel=agent:42&start=LAST_N&last=2&wait=0&after={body['next']}")
    assert offsets(rest) == [], "a cursor counts more than where to begin without one"


async def test_polling_and_a_websocket_share_positions(gateway: Running, publisher: FakePublisher) -> None:
    async with gateway.client(PROTO) as client:
        await client.subscribe("agent:42", lanes=[Priority.CRITICAL.wire_value])
        (one,) = publisher.publish("agent:42", Priority.CRITICAL, "one")
        assert await client.events(1) == [one.offset]
    position = [["CRITICAL", publisher.epoch, str(one.offset)]]
    after = base64.urlsafe_b64encode(json.dumps({"agent:42": position}).encode()).decode().rstrip("=")
    (two,) = publisher.publish("agent:42", Priority.CRITICAL, "two")
    _, body = await ask(gateway, f"channel=agent:42&after={after}")
    assert offsets(body) == [two.offset]


async def test_other_lanes_come_only_where_they_are_asked_for(gateway: Running, publisher: FakePublisher) -> None:
    _, body = await ask(gateway, "channel=agent:42&lanes=CRITICAL,LOW&wait=0")
    after = body["next"]
    (low,) = publisher.publish("agent:42", Priority.LOW, "low")
    _, body = await ask(gateway, f"channel=agent:42&after={after}&wait=0.2")
    assert offsets(body) == []
    _, body = await ask(gateway, f"channel=agent:42&lanes=LOW&after={after}")
    assert offsets(body) == [low.offset]


async def test_what_may_not_be_received_is_refused(gateway: Running) -> None:
    status, body = await ask(gateway, "channel=agent:42", "nonsense")
    assert (status, body["frames"][0]["error"]["reason"]) == (401, "UNAUTHENTICATED")
    status, body = await ask(gateway, "channel=agent:42", gateway.token("bots:*"))
    assert (status, body["frames"][0]["error"]["reason"]) == (200, "CHANNEL_FORBIDDEN")


async def test_pages_of_allowed_origins_may_poll(gateway: Running) -> None:
    head = f"OPTIONS /v1/poll HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\nAccess-Control-Request-Method: GET\r\n\r\n"
    assert (await gateway.request(head.encode())).startswith(b"HTTP/1.1 204 No Content\r\n")
    status, _ = await ask(gateway, "channel=a&wait=0", None, f"Origin: {ORIGIN}")
    assert status == 200
    status, _ = await ask(gateway, "channel=a&wait=0", None, "Origin: http://evil.example")
    assert status == 403


async def test_a_client_that_leaves_leaves_nothing_behind(gateway: Running) -> None:
    host, _, port = gateway.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /v1/poll?channel=a HTTP/1.1\r\nAuthorization: Bearer {gateway.token()}\r\n\r\n".encode())
    edge, hub = gateway.gateway.edge, gateway.gateway.hub
    while not (edge.polls and hub.channels):
        await asyncio.sleep(0)
    writer.close()
    while edge.polls:
        await asyncio.sleep(0)
    assert not hub.channels["a"].subscriptions


async def test_a_drain_answers_polls_at_once(tmp_path: Path, publisher: FakePublisher) -> None:
    async with running_gateway(tmp_path, [publisher.target]) as gateway:
        waiting = asyncio.create_task(ask(gateway, "channel=agent:42"))
        while not gateway.gateway.edge.polls:
            await asyncio.sleep(0)
    status, _ = await waiting
    assert status == 200
