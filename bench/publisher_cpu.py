"""What an event costs the publisher, step by step, without gRPC: `python -m bench.publisher_cpu`.

Owns the load (the headline's mix, payloads and channels, in messages as the SDK writes them) and the clock that is read
where one step ends and the next begins. The real parts do the work: ingest, the embedded log, one subscribing gateway
with its two streams, the answers of one publishing stream. Run by hand; docs/performance.md has the figures.

Time of the messages that nothing interrupted, best of several rounds: what a neighbour adds is never negative. For
instructions, which no neighbour changes, run it under `valgrind --tool=callgrind` with `--rounds 1` and two values of
`--of`, and divide the difference. `--count` counts bytecodes by function instead, which nothing disturbs either.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import CodeType, FrameType
from typing import Any

import uuid_utils
from google.protobuf.message import Message

from lanecast.ai.v1 import analytics_pb2, bots_pb2, concierge_pb2, strategy_pb2
from lanecast.core.instruments import Instruments
from lanecast.core.limits import BULK_BATCH_BYTES, BULK_BATCH_EVENTS
from lanecast.core.policy import DEFAULT
from lanecast.core.priority import BULK_LANES, EXPRESS_LANES, LANES, Priority
from lanecast.internal.v1.stream_pb2 import PublishEventStreamRequestView, PublishMessageView
from lanecast.publisher.core.encoding import EventEncoder, publish_message, route_prefix
from lanecast.v1.event_pb2 import PRIORITY_CRITICAL, Event
from publisher_svc.acceptance import Submission, Waiting
from publisher_svc.core.activity import Activity
from publisher_svc.core.admission import LoadLimit, ProducerOrder
from publisher_svc.core.answers import Answers
from publisher_svc.core.arms import Arms
from publisher_svc.core.downstream import Downstream
from publisher_svc.core.expiry import Expiry
from publisher_svc.core.group import Group
from publisher_svc.core.registry import TypeRegistry
from publisher_svc.core.tail import Tail
from publisher_svc.core.tally import BatchTally
from publisher_svc.hub import Hub
from publisher_svc.ingest import Ingest
from publisher_svc.log.base import Entry, Sink
from publisher_svc.log.sqlite import SqliteEventLog

STEPS = ("parse", "check and queue", "log", "dispatch", "acknowledge", "messages out")
_PARSE, _CHECK, _LOG, _DISPATCH, _ACKNOWLEDGE, _OUT = range(len(STEPS))
_DISTURBED = 3
"""A message that takes so many times as long as the median was interrupted."""
_CHANNELS, _EVENTS_PER_SECOND, _WEIGHTS = 1_000, 10_000, (1, 9, 60, 30)
_ANSWERED_EVERY = 7
"""Messages in for one of acknowledgements: a busy stream is answered every 8 ms."""
_CREDIT = 1 << 40


class _Steps:
    """How long each step of each message took."""

    def __init__(self) -> None:
        self.messages: list[list[int]] = []
        self._since = 0

    def start(self) -> None:
        """Begin with a message."""
        self.messages.append([0] * len(STEPS))
        self._since = time.perf_counter_ns()

    def end(self, step: int) -> None:
        """Say that a step is over, and that another begins."""
        now = time.perf_counter_ns()
        self.messages[-1][step] += now - self._since
        self._since = now

    def micros(self) -> list[float]:
        """Return the mean of each step over the messages that nothing came in between of, and forget them all.

        The processor's own count of a thread's time costs more to read than a step takes, and is no cleaner: it has
        the other processes' share of the caches in it, too.
        """
        messages, self.messages = self.messages, []
        limit = _DISTURBED * median(map(sum, messages))
        good = [each for each in messages if sum(each) <= limit]
        return [sum(times) / len(good) / 1e3 for times in zip(*good, strict=True)]


class _TimedLog(SqliteEventLog):
    """The embedded log, which tells where its part begins and ends."""

    steps: _Steps

    def deliver_to(self, sink: Sink) -> None:
        def timed(fresh: Sequence[Entry]) -> None:
            self.steps.end(_LOG)
            sink(fresh)
            self.steps.end(_DISPATCH)

        super().deliver_to(timed)

    def append_nowait(self, entries: Sequence[Entry]) -> bool:
        self.steps.end(_CHECK)
        stored = super().append_nowait(entries)
        self.steps.end(_LOG)
        return stored


class _Gateway:
    """The two streams of a gateway, as far as they cost the publisher's core anything."""

    def __init__(self, channels: Sequence[str], arms: Arms) -> None:
        expiry = Expiry(time.monotonic_ns, time.time_ns, lambda _lane, _events: None)
        tally = BatchTally()
        self.streams = [
            Downstream(
                lanes,
                dict.fromkeys(lanes, _CREDIT),
                max_message_events=events,
                max_message_bytes=size,
                expiry=expiry,
                tally=tally,
                arms=arms,
            )
            for lanes, events, size in (
                (EXPRESS_LANES, 256, 256 * 1024),
                (BULK_LANES, BULK_BATCH_EVENTS, BULK_BATCH_BYTES),
            )
        ]
        for channel in channels:
            for stream in self.streams:
                for lane in stream.lanes:
                    stream.add(channel, lane, 0, live=True)
        self.receivers = [_Receiver(stream) for stream in self.streams]
        self.messages = self.bytes = 0

    def pump(self, now_ns: int) -> None:
        """Take what may leave of streams that something came for or is due on, as their pumps do."""
        for receiver in self.receivers:
            if not receiver.is_awake and (receiver.due_ns is None or now_ns < receiver.due_ns):
                continue
            stream = receiver.downstream
            while (message := stream.take(now_ns)) is not None:
                self.messages += 1
                self.bytes += len(message)
            receiver.is_awake, receiver.due_ns = False, stream.next_due_ns()


class _Receiver:
    """One stream of the gateway in the hub; see `stream_service`."""

    def __init__(self, downstream: Downstream) -> None:
        self.downstream = downstream
        self.is_awake = False
        self.due_ns: int | None = None

    def offer(self, groups: Sequence[Group], now_ns: int) -> None:
        if self.downstream.offer_all(groups, now_ns):
            self.is_awake = True


class Bench:
    """A publisher without its sockets."""

    def __init__(self, folder: Path, size: int) -> None:
        registry = TypeRegistry()
        for file in (concierge_pb2, analytics_pb2, strategy_pb2, bots_pb2):
            registry.add_file(file.DESCRIPTOR)
        self._channels = [f"bench:{number}" for number in range(_CHANNELS)]
        self._random = random.Random(1)
        self._encoder = EventEncoder()
        self._routes = {(channel, lane): route_prefix(channel, lane) for channel in self._channels for lane in LANES}
        self._sent = 0
        self._size = size
        self.steps = _Steps()
        log = _TimedLog.open(folder)
        assert isinstance(log, _TimedLog)
        self.log = log
        self.log.steps = self.steps
        hub, arms = Hub(), Arms(DEFAULT)
        self.ingest = Ingest(log, registry, hub, Tail(), Instruments(), LoadLimit(), arms, Activity(), _fail)
        self.gateway = _Gateway(self._channels, arms)
        for receiver in self.gateway.receivers:
            for channel in self._channels:
                hub.join(channel, receiver.downstream.lanes, receiver)
        self._order = ProducerOrder()
        self._answers = Answers(log.lineage.current)
        self._now_ns = time.time_ns()
        self.answered = 0

    def message(self) -> bytes:
        """Return the next message as the SDK writes it: express lanes first."""
        lanes = sorted(self._random.choices(LANES, _WEIGHTS, k=self._size), key=LANES.index)
        events = []
        for lane in lanes:
            self._sent += 1
            route = self._routes[self._channels[self._sent % _CHANNELS], lane]
            events.append(self._encoder.encode(str(uuid_utils.uuid7()), route, self._payload(lane), time.time_ns()))
        return publish_message(self._sent - self._size + 1, events, time.time_ns())

    def _payload(self, lane: Priority) -> Message:
        text = "the customer asked about the price of the house near the park " * 8
        text = text[: self._random.randint(256, 512)]
        if lane is Priority.CRITICAL:
            return concierge_pb2.ConciergeInsight(text=text)
        if lane is Priority.HIGH:
            return bots_pb2.BotHandoff(summary=text)
        if lane is Priority.NORMAL:
            return analytics_pb2.ShapExplanation(subject=text)
        return strategy_pb2.StrategyRecommendation(rationale=text)

    def run(self, messages: Sequence[bytes]) -> None:
        """Take messages through all steps."""
        steps = self.steps
        for number, data in enumerate(messages, 1):
            steps.start()
            request = PublishEventStreamRequestView.FromString(data)
            steps.end(_PARSE)
            self._take(request.publish)
            if number % _ANSWERED_EVERY == 0:
                self._answer()
            self._now_ns += self._size * 1_000_000_000 // _EVENTS_PER_SECOND
        self._answer()

    def _take(self, message: PublishMessageView) -> None:
        """Submit CRITICAL events before the rest, as the publish service does."""
        events: Sequence[Waiting | Event] = self.ingest.read(message.events, "")
        first, end = message.first_sequence, 0
        while end < len(events) and events[end].priority == PRIORITY_CRITICAL:
            end += 1
        if 0 < end < len(events):
            self._submit(events[:end], first)
            events, first = events[end:], first + end
        self._submit(events, first)

    def _submit(self, events: Sequence[Waiting | Event], first: int) -> None:
        self.ingest.submit(events, "", self._order, lambda made: self._on_done(first, made))
        self.steps.end(_ACKNOWLEDGE)
        self.gateway.pump(self._now_ns)
        self.steps.end(_OUT)

    def _on_done(self, first: int, submission: Submission) -> None:
        if submission.run:
            self._answers.add_run(first, submission.run, len(submission.results))
        else:
            self._answers.add(first, submission.results)

    def _answer(self) -> None:
        while self._answers:
            self.answered += self._answers.take()[1]
        self.steps.end(_ACKNOWLEDGE)


def _count(bench: Bench, messages: Sequence[bytes]) -> Counter[CodeType]:
    """Return the bytecodes that each function runs for some messages."""
    counts: Counter[CodeType] = Counter()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            counts[frame.f_code] += 1
        return trace

    sys.settrace(trace)
    bench.run(messages)
    sys.settrace(None)
    return counts


def _print_counts(bench: Bench, messages: int, events: int) -> None:
    made = [bench.message() for _ in range(messages)]
    bench.run(made[: messages // 2])
    counted = made[messages // 2 :]
    counts = _count(bench, counted)
    for code, number in [(None, counts.total()), *counts.most_common(30)]:
        name = "all bytecodes an event" if code is None else f"{code.co_qualname}, {Path(code.co_filename).name}"
        sys.stdout.write(f"  {number / (len(counted) * events):8.1f}  {name}\n")


def _fail(error: BaseException) -> None:
    raise SystemExit(f"the log failed: {error}")


async def _measure(folder: Path, options: argparse.Namespace) -> None:
    bench = Bench(folder, options.events)
    gc.freeze()
    gc.set_threshold(5_000, 20, 1_000_000)  # as the service does
    if options.count:
        _print_counts(bench, options.messages, options.events)
        await bench.log.close()
        return
    best = dict.fromkeys((*STEPS, "all"), float("inf"))
    for _ in range(options.rounds):
        messages = [bench.message() for _ in range(options.messages)]
        bench.run(messages[: options.messages // 10])
        gc.collect()
        bench.steps.micros()
        rest = messages[options.messages // 10 : options.of]
        bench.run(rest)
        spent = dict(zip(STEPS, (micros / options.events for micros in bench.steps.micros()), strict=True))
        spent["all"] = sum(spent.values())
        best = {step: min(best[step], micros) for step, micros in spent.items()}
        await bench.log.settle()
    sys.stdout.write(f"µs an event, best of {options.rounds} rounds of {options.messages:,} messages\n")
    for step, micros in best.items():
        sys.stdout.write(f"  {step:<16} {micros:6.2f}\n")
    out = bench.gateway
    sys.stdout.write(f"  {bench.answered / out.messages:.1f} events in a message out, {bench.answered:,} events\n")
    await bench.log.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=12, help="in a message")
    parser.add_argument("--messages", type=int, default=1_000, help="in a round")
    parser.add_argument("--of", type=int, help="how many of these are sent; all by default")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--count", action="store_true", help="count bytecodes by function")
    parser.add_argument("--folder", type=Path, help="where the log goes; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        asyncio.run(_measure(Path(folder), options))


if __name__ == "__main__":
    main()
