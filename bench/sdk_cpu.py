"""What the publishing SDK and the generator cost in processor time, by step, without gRPC and without a service.

Run by hand: `python -m bench.sdk_cpu`. The headline's events go through `AsyncPublisher.publish_nowait`; the stream is
replaced by one in this process that answers as publisher_svc does. Two views:

*Steps*: as fast as it goes, in messages of 24 events and answers of 96, which is what the headline load makes of
itself. A step is timed over a whole message; of the rounds the best one counts, which is the one disturbed least.

*In place*: 10,000 events/s from the real generator, the real link with its tasks and timers, around a stream that costs
nothing; processor time of the process an event, the best of a few seconds. Once with the SDK, once with a publisher
that does nothing, which is what the generator costs alone.

`--rounds N` does N rounds of steps and nothing else, for counting instructions with `valgrind --tool=callgrind`: count
with two values of N, of which the difference matters.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from dataclasses import replace
from typing import Any, Self

import uvloop

from bench import mark, scenario, schedule
from bench.generator import Generator
from bench.systems.lanecast import LanecastPublisher, payloads
from lanecast.core.wire import varint
from lanecast.publisher import AsyncPublisher, PublisherSettings, link
from lanecast.v1.publisher_pb2 import (
    PublishAcks,
    PublishEventStreamRequest,
    PublishEventStreamResponse,
    PublishOpened,
)

_MESSAGE, _ANSWER, _ROUND, _RATE = 24, 96, 4_800, 10_000
_ANSWER_SECONDS = 0.008
_EPOCH = "0192f3a1b2c3"
_OPENED = PublishOpened(epoch=_EPOCH, credit_bytes=4 << 20, max_events=1_000, max_payload_bytes=65_536)
_SETTINGS = PublisherSettings(health_seconds=3_600)  # there is no channel to ask


class Service:
    """What a publisher service says: everything is stored.

    It costs next to nothing, and does not import publisher_svc: that imports OpenTelemetry, and the SDK would then look
    for a current span.
    """

    def __init__(self) -> None:
        self._next = 1
        self._results: dict[int, bytes] = {}

    def answer(self, count: int) -> bytes:
        """Return what is to be said to the next `count` events."""
        results = self._results.get(count)
        if results is None:
            offsets = range(1 << 24, (1 << 24) + count)
            results = self._results[count] = PublishAcks(epoch=_EPOCH, offsets=offsets).SerializeToString()
        body = results + b"\x10" + varint(self._next)
        self._next += count
        return b"\x12" + varint(len(body)) + body


class Loopback:
    """Stands for `PublishStream`; the service behind it is in this process."""

    service_ns = 0
    """Processor time that the service's part took; not the SDK's."""

    def __init__(self, target: str, _own: Any = None) -> None:
        self.target = target
        self.channel = None
        self._said: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._service = Service()
        self._unanswered = 0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def open(self, _source: str, _timeout_seconds: float, _token: str = "") -> PublishOpened:
        """Let the publisher in."""
        return _OPENED

    async def write(self, message: bytes) -> None:
        """Take a message. Its answer comes together with others, after a while."""
        begun = time.thread_time_ns()
        self._unanswered += len(PublishEventStreamRequest.FromString(message).publish.events)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_ANSWER_SECONDS, self._answer)
        Loopback.service_ns += time.thread_time_ns() - begun

    def _answer(self) -> None:
        begun = time.thread_time_ns()
        self._timer = None
        answer, self._unanswered = self._service.answer(self._unanswered), 0
        Loopback.service_ns += time.thread_time_ns() - begun
        self._said.put_nowait(answer)

    async def read(self) -> PublishEventStreamResponse | None:
        """Return the next answer."""
        data = await self._said.get()
        return None if data is None else PublishEventStreamResponse.FromString(data)

    async def finish(self) -> None:
        """End the stream."""
        self._said.put_nowait(None)


class Nothing(LanecastPublisher):
    """A publisher that drops everything, payload in hand."""

    async def open(self) -> None:
        """Do nothing."""

    def send(self, number: int, channel: str, lane: int, payload: bytes) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class Steps:
    """Drives the parts of a publisher by hand."""

    NAMES = ("publish_nowait", "compose messages", "parse answers", "acknowledge and settle")

    def __init__(self, publisher: AsyncPublisher) -> None:
        self._publisher = publisher
        self._outbox = publisher._outbox  # noqa: SLF001 - the parts are what is measured
        self._settle = publisher._settle  # noqa: SLF001
        self._service = Service()
        plan = schedule.plan(replace(scenario.load("headline"), seconds=1, warmup_seconds=0))
        filler = mark.Filler(512)
        build = payloads()
        self._events = []
        for number in range(_ROUND):
            priority, make = build[plan.lane[number]]
            label = mark.encode(1 << 60, 1 << 60, plan.channel[number], plan.sequence[number], plan.lane[number], 0)
            text = filler.payload(label, plan.size[number]).decode()
            self._events.append((scenario.channel_name(plan.channel[number]), make, text, priority))
        self._now = asyncio.get_running_loop().time()

    def round(self) -> list[float]:
        """Publish all events once; return µs an event for each step."""
        publish, outbox, service, clock = (
            self._publisher.publish_nowait,
            self._outbox,
            self._service,
            time.perf_counter_ns,
        )
        spent = [0, 0, 0, 0]
        futures: list[Any] = []
        for first in range(0, _ROUND, _MESSAGE):
            chosen = self._events[first : first + _MESSAGE]
            events = [(channel, make(text), priority) for channel, make, text, priority in chosen]
            begun = clock()
            for channel, message, priority in events:
                futures.append(publish(channel, message, priority=priority))
            published = clock()
            self._now += 1
            written = outbox.next_message(self._now, time.time_ns())
            composed = clock()
            spent[0] += published - begun
            spent[1] += composed - published
            assert written is not None
            if (first + _MESSAGE) % _ANSWER:
                continue
            answer = service.answer(_ANSWER)
            begun = clock()
            acks = PublishEventStreamResponse.FromString(answer).acks
            parsed = clock()
            outbox.acknowledge(acks, self._now)
            self._settle()
            spent[2] += parsed - begun
            spent[3] += clock() - parsed
            assert futures[-1].done()
            futures.clear()
        return [nanos / _ROUND / 1_000 for nanos in spent]


async def _steps(rounds: int) -> list[float]:
    publisher = AsyncPublisher(settings=_SETTINGS)
    await publisher.connect()
    await asyncio.sleep(0.01)
    steps = Steps(publisher)
    found = [steps.round() for _ in range(rounds)]
    await publisher.close()
    return [min(column) for column in zip(*found, strict=True)]


async def _in_place(publisher: LanecastPublisher, seconds: int) -> float:
    """Return µs of processor time an event at the headline's rate, the best of so many seconds."""
    chosen = scenario.load("headline")
    events = schedule.plan(replace(chosen, warmup_seconds=0, seconds=seconds))
    channels = [scenario.channel_name(index) for index in range(chosen.channels)]
    await publisher.open()
    generator = Generator(publisher, events, channels, chosen.payload_bytes[1])
    running = asyncio.create_task(generator.run(time.time_ns() + 100_000_000))
    await asyncio.sleep(0.1)
    costs = []
    while not running.done():
        sent, spent, service = generator.sent, time.process_time_ns(), Loopback.service_ns
        await asyncio.sleep(0.5)
        spent = time.process_time_ns() - spent - (Loopback.service_ns - service)
        costs.append(spent / max(1, generator.sent - sent) / 1_000)
    await running
    await publisher.close()
    return min(costs[:-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="do so many rounds of steps and nothing else")
    parser.add_argument("--seconds", type=int, default=6, help="how long each run in place takes")
    options = parser.parse_args()
    link.PublishStream = Loopback  # type: ignore[misc,assignment]
    gc.collect()
    gc.freeze()
    gc.disable()  # as the generator does
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        steps = runner.run(_steps(options.rounds or 100))
        for name, micros in zip(Steps.NAMES, steps, strict=True):
            print(f"{name:<40}{micros:6.2f} µs an event")
        print(f"{'steps together':<40}{sum(steps):6.2f} µs an event")
        if options.rounds:
            return
        alone = runner.run(_in_place(Nothing("127.0.0.1:1"), options.seconds))
        print(f"{'generator alone, in place':<40}{alone:6.2f} µs an event")
        whole = runner.run(_in_place(LanecastPublisher("127.0.0.1:1", settings=_SETTINGS), options.seconds))
        print(f"{'generator and SDK, in place':<40}{whole:6.2f} µs an event")


if __name__ == "__main__":
    main()
