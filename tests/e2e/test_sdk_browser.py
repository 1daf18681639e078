"""The TypeScript SDK in a real Chromium against the real services: whatever happens to page, network and gateway, every
event is handed over once and in order, and `continuity()` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import page_samples as samples
import pytest
import pytest_asyncio
from sdk_stack import SdkStack, running_sdk_stack

from lanecast import Ack, AsyncPublisher, Priority

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SdkStack]:
    async with running_sdk_stack(tmp_path_factory.mktemp("sdk")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def publisher(stack: SdkStack) -> AsyncIterator[AsyncPublisher]:
    async with AsyncPublisher(stack.publisher) as made:
        yield made


async def publish(publisher: AsyncPublisher, channel: str, count: int, lane: Priority = Priority.CRITICAL) -> list[Ack]:
    """Publish insights, and return their acknowledgements."""
    return [await publisher.publish(channel, samples.insight(f"{n}").message, priority=lane) for n in range(count)]


def offsets(acks: Iterable[Ack]) -> list[str]:
    return [str(ack.offset) for ack in acks]


def offsets_seen(events: Iterable[dict[str, Any]]) -> list[str]:
    return [event["offset"] for event in events]


async def assert_whole(stack: SdkStack, channel: str, acks: list[Ack], **counts: int) -> list[dict[str, Any]]:
    """Wait for all of `acks` in the page: each once, in order, no gap, and `continuity()` agreeing."""
    events = await stack.seen(channel, len(acks))
    assert offsets_seen(events) == offsets(acks)
    told = await stack.continuity(channel)
    expected = {"delivered": len(acks), "gaps": 0, "holes": 0, **counts}
    assert {name: told[name] for name in expected} == expected
    assert {place["offset"] for place in told["positions"] if place["lane"] == "CRITICAL"} >= {str(acks[-1].offset)}
    assert await stack.page.call("evaluate", expression="harness.gaps") == []
    assert await stack.page.call("complaints") == []
    return events


async def test_events_of_all_lanes_come_live_and_measured(stack: SdkStack, publisher: AsyncPublisher) -> None:
    await stack.fresh()
    for codec in ("protobuf", "json"):
        channel = f"lanes:{codec}"
        await stack.start(channel, codec=codec)
        acks = {lane.name: await publish(publisher, channel, 3, lane) for lane in Priority if lane.value}
        events = await stack.seen(channel, 12)
        for lane, published in acks.items():
            assert [event["offset"] for event in events if event["lane"] == lane] == offsets(published)
        assert {event["delivery"] for event in events} == {"live"}
        for event in events:
            assert event["latency"]["oneWayMs"] > -event["latency"]["uncertaintyMs"], event
        told = await stack.continuity(channel)
        assert (told["delivered"], told["gaps"], told["holes"], told["duplicates"]) == (12, 0, 0, 0)


async def test_a_gateway_killed_amid_events_costs_none(stack: SdkStack, publisher: AsyncPublisher) -> None:
    await stack.fresh()
    await stack.start("killed")
    acks = await publish(publisher, "killed", 50)
    await stack.seen("killed", 1)  # without an event there would be no position to resume from
    await stack.gateway.kill()
    acks += await publish(publisher, "killed", 50)
    await stack.wait_state("reconnecting")
    await stack.gateway.start()
    acks += await publish(publisher, "killed", 50)
    events = await assert_whole(stack, "killed", acks, resumes=1)
    assert {event["delivery"] for event in events} >= {"live", "recovered"}


async def test_what_happens_without_a_network_comes_after_it(stack: SdkStack, publisher: AsyncPublisher) -> None:
    await stack.fresh()
    await stack.start("offline")
    acks = await publish(publisher, "offline", 5)
    await stack.seen("offline", 5)
    await stack.page.call("network", on=False)
    await stack.wait_state("reconnecting")
    acks += await publish(publisher, "offline", 5)
    await stack.page.call("network", on=True)
    await stack.wait_state("connected")
    acks += await publish(publisher, "offline", 5)
    await assert_whole(stack, "offline", acks, duplicates=0)


async def test_a_page_kept_for_back_goes_on_where_it_was_left(stack: SdkStack, publisher: AsyncPublisher) -> None:
    await stack.fresh()
    await stack.start("kept")
    acks = await publish(publisher, "kept", 3)
    await stack.seen("kept", 3)
    await stack.page.call("open", path="/other.html")
    acks += await publish(publisher, "kept", 3)
    await stack.page.call("back")
    await stack.page.call("wait", expression="globalThis.harness?.shown.at(-1) === true")
    await stack.wait_state("connected")
    acks += await publish(publisher, "kept", 3)
    await assert_whole(stack, "kept", acks, duplicates=0, resumes=1)


async def test_a_page_that_is_hidden_then_frozen_catches_up(stack: SdkStack, publisher: AsyncPublisher) -> None:
    await stack.fresh()
    await stack.start("frozen")
    acks = await publish(publisher, "frozen", 3)
    await stack.seen("frozen", 3)
    await stack.page.call("background", hidden=True)
    acks += await publish(publisher, "frozen", 3)
    await stack.seen("frozen", 6)
    await stack.page.call("lifecycle", frozen=True)
    acks += await publish(publisher, "frozen", 200)
    await stack.page.call("lifecycle", frozen=False)
    await stack.page.call("background", hidden=False)
    await assert_whole(stack, "frozen", acks, duplicates=0)


async def test_where_no_websocket_comes_through_polls_do_until_one_does(
    stack: SdkStack, publisher: AsyncPublisher
) -> None:
    await stack.fresh()
    await stack.page.call("webSockets", allowed=False)
    await stack.start("polled")  # ready by polls alone
    await stack.wait_state("polling")
    acks = await publish(publisher, "polled", 20)
    await stack.seen("polled", 20)
    low = await publish(publisher, "polled", 2, Priority.LOW)
    await stack.page.call("webSockets", allowed=True)
    acks += await publish(publisher, "polled", 20)
    await stack.wait_state("connected")
    acks += await publish(publisher, "polled", 20)
    events = await stack.seen("polled", 60)
    critical = [event for event in events if event["lane"] == "CRITICAL"]
    assert offsets_seen(critical) == offsets(acks)
    assert {event["delivery"] for event in critical[:20]} == {"polled"}
    assert critical[-1]["delivery"] == "live"
    assert all(event["latency"] is None for event in critical[:20])
    told = await stack.continuity("polled")
    assert (told["gaps"], told["holes"]) == (0, 0)
    # The page was never told where LOW stood: `latest` begins there once there is a connection.
    assert not set(offsets_seen(events)) & set(offsets(low))
    polls = (await stack.page.call("counts"))["polls"]
    await publish(publisher, "polled", 1)
    await stack.seen("polled", 61)
    assert (await stack.page.call("counts"))["polls"] == polls, "polls go on beside the connection"


async def test_a_websocket_that_is_cut_off_gives_way_to_polls_and_back(
    stack: SdkStack, publisher: AsyncPublisher
) -> None:
    await stack.fresh()
    await stack.start("switched")
    acks = await publish(publisher, "switched", 5)
    await stack.seen("switched", 5)
    await stack.page.call("webSockets", allowed=False)
    await stack.gateway.kill()
    await stack.gateway.start()
    await stack.wait_state("polling")
    acks += await publish(publisher, "switched", 5)
    await stack.seen("switched", 10)
    await stack.page.call("webSockets", allowed=True)
    await stack.wait_state("connected")
    acks += await publish(publisher, "switched", 5)
    events = await assert_whole(stack, "switched", acks, duplicates=0)
    assert [event["delivery"] for event in events[5:10]] == ["polled"] * 5


async def test_a_token_is_replaced_on_the_open_socket(stack: SdkStack, publisher: AsyncPublisher) -> None:
    await stack.fresh()
    await stack.page.call("token", token=stack.token(4))
    await stack.start("refreshed")
    served = await stack.page.call("token", token=stack.token())
    acks = await publish(publisher, "refreshed", 3)
    await stack.seen("refreshed", 3)
    session = await stack.page.call("evaluate", expression="harness.client.state.session")
    while await stack.page.call("token", token=stack.token()) == served:
        acks += await publish(publisher, "refreshed", 1)
        await stack.seen("refreshed", len(acks))
    acks += await publish(publisher, "refreshed", 3)
    await assert_whole(stack, "refreshed", acks, duplicates=0, resumes=0)
    assert await stack.page.call("evaluate", expression="harness.client.state.session") == session
    assert (await stack.page.call("counts"))["sockets"] == 1


async def test_a_token_that_ends_ends_the_session_and_the_next_one_resumes(
    stack: SdkStack, publisher: AsyncPublisher
) -> None:
    await stack.fresh()
    await stack.page.call("token", token=stack.token(1))
    await stack.start("expired")
    await stack.page.call("token", token=None)
    acks = await publish(publisher, "expired", 3)
    await stack.wait_state("reconnecting")
    acks += await publish(publisher, "expired", 3)
    await stack.page.call("token", token=stack.token())
    await stack.wait_state("connected")
    acks += await publish(publisher, "expired", 3)
    await assert_whole(stack, "expired", acks, duplicates=0, resumes=1)


async def test_a_phone_reloads_without_a_network_and_resumes_without_a_gap(
    stack: SdkStack, publisher: AsyncPublisher
) -> None:
    await stack.fresh("Pixel 7")
    page = stack.page
    await page.call("throttle", rate=4)
    await stack.start("phone", offline=True, worker=True)
    await page.call("wait", expression="navigator.serviceWorker.controller !== null")
    acks = await publish(publisher, "phone", 5)
    await stack.seen("phone", 5)
    await page.call("wait", expression=_kept("phone", acks[-1]))

    await page.call("network", on=False)
    await page.call("reload")
    await page.call("restart")
    events = await stack.seen("phone", 5)
    assert [(event["offset"], event["delivery"]) for event in events] == [(o, "cached") for o in offsets(acks)]

    missed = await publish(publisher, "phone", 5)
    await page.call("network", on=True)
    await stack.wait_state("connected")
    missed += await publish(publisher, "phone", 5)
    events = await stack.seen("phone", 15)
    assert offsets_seen(events) == offsets(acks + missed)
    told = await stack.continuity("phone")
    assert (told["delivered"], told["gaps"], told["holes"], told["duplicates"]) == (10, 0, 0, 0)


async def test_the_worker_brings_critical_events_up_to_date_by_itself(
    stack: SdkStack, publisher: AsyncPublisher
) -> None:
    await stack.fresh()
    page = stack.page
    await stack.start("woken", offline=True, worker=True, lanes=["CRITICAL"])
    await page.call("wait", expression="navigator.serviceWorker.controller !== null")
    acks = await publish(publisher, "woken", 3)
    await page.call("wait", expression=_kept("woken", acks[-1]))
    status = await page.call("evaluate", expression="harness.worker.status()")
    assert (status["sync"], status["push"]) == (True, True)

    await page.call("evaluate", expression="harness.client.close()")
    acks += await publish(publisher, "woken", 4)
    await page.call("sync", tag="lanecast-poll")
    await page.call("wait", expression=_kept("woken", acks[-1]))
    await page.call("wait", expression="harness.worker.status().then(({ lastPoll }) => lastPoll !== null)")
    status = await page.call("evaluate", expression="harness.worker.status()")
    assert (status["lastPoll"]["cause"], status["lastPoll"]["events"], status["lastPoll"]["outcome"]) == (
        "sync",
        4,
        "ok",
    )

    await page.call("network", on=False)
    await page.call("reload")
    await page.call("restart")
    events = await stack.seen("woken", 7)
    assert [(event["offset"], event["delivery"]) for event in events] == [(o, "cached") for o in offsets(acks)]
    await page.call("network", on=True)
    await stack.wait_state("connected")
    more = await publish(publisher, "woken", 3)
    events = await stack.seen("woken", 10)
    assert offsets_seen(events) == offsets(acks + more)
    told = await stack.continuity("woken")
    assert (told["delivered"], told["gaps"], told["holes"], told["duplicates"]) == (3, 0, 0, 0)


async def test_strict_mode_opens_one_socket(stack: SdkStack, publisher: AsyncPublisher) -> None:
    await stack.fresh()
    await stack.start("strict", strict=True)
    await stack.page.call("wait", expression="document.querySelector('.offsets')?.dataset.ready === 'true'")
    acks = await publish(publisher, "strict", 5)
    shown = " ".join(offsets(acks))
    await stack.page.call("wait", expression=f"document.querySelector('.offsets').textContent === {shown!r}")
    assert (await stack.page.call("counts"))["sockets"] == 1
    statistics = await stack.page.call("evaluate", expression="harness.client.statistics()")
    assert (statistics["connections"], statistics["subscriptions"], statistics["duplicates"]) == (1, 1, 0)


def _kept(channel: str, ack: Ack) -> str:
    """Return the expression that waits until the device has kept an event and the position behind it."""
    return f"""new Promise((resolve) => {{
      const opening = indexedDB.open("lanecast:agent-7");
      opening.onsuccess = () => {{
        const reading = opening.result.transaction("cursors").objectStore("cursors").get([{channel!r}, "CRITICAL"]);
        reading.onsuccess = () => {{
          opening.result.close();
          resolve(reading.result?.offset >= {ack.offset}n);
        }};
      }};
    }})"""
