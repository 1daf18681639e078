"""The sender of notifications against a web server, and the changes of a rollout that it is given."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from lanecast.v1 import rollout_pb2 as pb
from lanecast.v1.rollout_pb2_grpc import RolloutServiceStub
from metrics_svc.core.mailbox import MAX_WAITING
from metrics_svc.core.notices import FAILED, SENT, Notice, signature
from metrics_svc.webhook import KEY_HEADER, SIGNATURE_HEADER, Webhook

NOW = 1_800_000_000 * 10**9


class Receiver:
    """A web server that answers with the statuses it is given, then with 204, and keeps what came."""

    def __init__(self) -> None:
        self.statuses: list[tuple[int, dict[str, str]]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self._changed = asyncio.Condition()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.reached.set()
        await self.open.wait()
        async with self._changed:
            self.requests.append((dict(request.headers), body))
            self._changed.notify_all()
        status, headers = self.statuses.pop(0) if self.statuses else (204, {})
        return web.Response(status=status, headers=headers)

    async def until(self, number: int) -> list[str]:
        """Wait for so many requests; return their keys."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= number)
        return [headers[KEY_HEADER] for headers, _ in self.requests]


class Records:
    """What a sender tells of its notifications."""

    def __init__(self) -> None:
        self.told: list[Notice] = []
        self._changed = asyncio.Event()

    def take(self, notice: Notice) -> None:
        self.told.append(notice)
        self._changed.set()

    async def until(self, key: str, outcome: str) -> Notice:
        while True:
            for notice in self.told:
                if (notice.key, notice.outcome) == (key, outcome):
                    return notice
            self._changed.clear()
            await self._changed.wait()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    receiver.open.set()
    await runner.cleanup()


@pytest.fixture
async def sending(receiver: Receiver) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        def make(url: str = receiver.url, secret: str = "") -> tuple[Webhook, Records]:
            records = Records()
            webhook = Webhook(
                url, secret, name="tests", timeout_seconds=5.0, deadline_seconds=3600.0, clock_ns=lambda: NOW,
                on_changed=records.take, uniform=lambda _low, _high: 0.0,
            )  # fmt: skip
            stack.push_async_callback(webhook.close)
            webhook.start()
            return webhook, records

        yield make


def notice(key: str, body: str = "{}") -> Notice:
    return Notice(key, NOW, body)


async def test_what_is_sent_has_its_key_and_its_signature(receiver: Receiver, sending: Any) -> None:
    webhook, records = sending(secret="s3cret")
    webhook.send([notice("disk:FIRING", '{"text": "größer"}')])
    assert (await records.until("disk:FIRING", SENT)).attempts == 1
    ((headers, body),) = receiver.requests
    assert body == '{"text": "größer"}'.encode()
    assert headers[KEY_HEADER] == "disk:FIRING"
    assert headers[SIGNATURE_HEADER] == signature("s3cret", NOW // 10**9, body)
    assert headers["Content-Type"] == "application/json; charset=utf-8"


async def test_a_busy_receiver_gets_the_same_again_and_the_next_only_then(receiver: Receiver, sending: Any) -> None:
    receiver.statuses = [(503, {}), (429, {}), (408, {})]
    webhook, records = sending()
    webhook.send([notice("roll:1-STARTING"), notice("roll:2-SETTLING")])
    await records.until("roll:2-SETTLING", SENT)
    assert await receiver.until(5) == ["roll:1-STARTING"] * 4 + ["roll:2-SETTLING"]
    assert (await records.until("roll:1-STARTING", SENT)).attempts == 4
    assert all(SIGNATURE_HEADER not in headers for headers, _ in receiver.requests)


@pytest.mark.parametrize(("status", "headers"), [(400, {}), (404, {}), (302, {"Location": "http://127.0.0.1:1/"})])
async def test_an_answer_that_will_not_change_gives_it_up(
    receiver: Receiver, sending: Any, caplog: pytest.LogCaptureFixture, status: int, headers: dict[str, str]
) -> None:
    receiver.statuses = [(status, headers)]
    webhook, records = sending()
    webhook.send([notice("a:FIRING"), notice("b:FIRING")])
    given_up = await records.until("a:FIRING", FAILED)
    assert (given_up.attempts, given_up.detail) == (1, f"it answered {status}")
    assert "the webhook for tests was not told of a:FIRING after 1 tries" in caplog.text
    await records.until("b:FIRING", SENT)


async def test_a_receiver_that_is_not_there_is_tried_again(
    receiver: Receiver, sending: Any, unused_tcp_port: int
) -> None:
    webhook, records = sending(f"http://127.0.0.1:{unused_tcp_port}/hook")
    webhook.send([notice("a:FIRING")])
    waiting = await records.until("a:FIRING", "waiting")
    assert "Cannot connect" in waiting.detail


async def test_at_most_so_many_wait_and_the_oldest_gives_way(receiver: Receiver, sending: Any) -> None:
    receiver.open.clear()
    webhook, records = sending()
    webhook.send([notice("first:FIRING")])
    await receiver.reached.wait()
    webhook.send([notice(f"n{number}:FIRING") for number in range(MAX_WAITING)])
    given_up = await records.until("n0:FIRING", FAILED)
    assert given_up.detail == f"{MAX_WAITING} notifications were waiting already"
    receiver.open.set()
    keys = await receiver.until(MAX_WAITING)
    assert keys[:2] == ["first:FIRING", "n1:FIRING"]


async def test_without_an_address_nothing_is_kept_and_closing_twice_is_harmless(sending: Any) -> None:
    webhook, records = sending("")
    webhook.send([notice(f"{number}:FIRING") for number in range(MAX_WAITING + 1)])
    assert not webhook.enabled
    assert records.told == []
    await webhook.close()
    await webhook.close()


async def test_each_change_of_a_rollout_is_told(receiver: Receiver, start: Any) -> None:
    receiver.statuses = [(500, {})]
    running = await start(rollout_webhook=receiver.url, webhook_secret="s3cret")
    stub = RolloutServiceStub(running.channel)
    plan = pb.RolloutPlan(baseline_policy="legacy-500ms", candidate_policy="default")
    plan.stages.add(percent=100, min_duration={"seconds": 60}, max_duration={"seconds": 600})
    made = (await stub.CreateRollout(pb.CreateRolloutRequest(plan=plan, request_id="r1", actor="kim"))).rollout
    await stub.CancelRollout(pb.CancelRolloutRequest(id=made.id, context={"actor": "kim", "reason": "not today"}))
    first, again = await receiver.until(2)
    assert first == again
    assert first.startswith(f"{made.id}:")
    assert first.endswith("-CANCELLED")
    headers, body = receiver.requests[-1]
    assert headers[SIGNATURE_HEADER].startswith("t=")
    told = json.loads(body)
    assert (told["kind"], told["rollout"], told["from"], told["state"]) == ("rollout", made.id, "DRAFT", "CANCELLED")
    assert told["reason"] == "not today"
