"""The process that runs one performance test: `python -m metrics_svc.perf_process`, started by `performance`.

Owns the pace, the publisher and the synthetic subscribers of the test. It is a process of its own so that metrics_svc
goes on answering. It reads its order, one line of JSON, from standard input, and writes a
`RunPerformanceTestResponse` in ProtoJSON on a line of standard output twice a second; the last one has a grade. Where
standard input ends, its parent has gone or has had enough, and it stops.

Events are sent when they are due, whatever became of those before. A thread watches the clock, for the event loop's
own timers count whole milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from lanecast import Ack, AsyncPublisher
from lanecast.core.priority import Priority
from lanecast.errors import LanecastError, NotAcknowledgedError, PublishError, StatusError
from lanecast.publisher.settings import PublisherSettings
from lanecast.v1 import metrics_pb2
from lanecast.v1.event_pb2 import EventBatch
from metrics_svc import messages
from metrics_svc.core.objectives import DEFAULTS, Objective, Objectives, SecondLimit
from metrics_svc.core.perf_account import PerfAccount, Stamps
from metrics_svc.core.perf_payload import payloads
from metrics_svc.core.perf_plan import PerfPlan, channel_name
from metrics_svc.perf_socket import PerfSocket

PROGRESS_SECONDS = 0.5
SETTLE_SECONDS = 5.0
"""How long after the last event was sent those on their way are waited for."""
_SETTINGS = PublisherSettings(
    max_events=100_000,
    max_bytes=64 * 1024 * 1024,
    delivery_seconds=10.0,
    connect_timeout=3.0,
    close_timeout=2.0,
)
_OPENING_AT_ONCE = 32
_TICK_NS = 250_000
"""The sender wakes at most this often; what is due then is sent together."""
_LEAD_NS = 50_000_000
"""Time between the order to start and the first event."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a test needs to know; sent as one line of JSON."""

    id: str
    plan: PerfPlan
    publisher_targets: tuple[str, ...]
    gateway_urls: tuple[str, ...]
    token: str
    """Grants the channels of tests, for publishing and subscribing."""
    objectives: Objectives = field(default_factory=lambda: DEFAULTS)
    """What the grade is about."""

    def to_json(self) -> str:
        """Return the order as a line."""
        plan = self.plan
        return json.dumps({
            "id": self.id,
            "plan": {
                "rate": plan.rate,
                "seconds": plan.seconds,
                "subscribers": plan.subscribers,
                "mix": [[int(lane), weight] for lane, weight in plan.mix],
                "payload_bytes": plan.payload_bytes,
            },
            "publisher_targets": self.publisher_targets,
            "gateway_urls": self.gateway_urls,
            "token": self.token,
            "objectives": [asdict(objective) for objective in self.objectives.values()],
        })  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Return the order that a line holds."""
        fields = json.loads(text)
        plan = fields.pop("plan")
        mix = tuple((Priority(lane), weight) for lane, weight in plan.pop("mix"))
        targets, urls = tuple(fields["publisher_targets"]), tuple(fields["gateway_urls"])
        objectives = dict(map(_objective, fields["objectives"]))
        return cls(fields["id"], PerfPlan(mix=mix, **plan), targets, urls, fields["token"], objectives)


def _objective(fields: dict[str, Any]) -> tuple[Priority, Objective]:
    lane, second = Priority(fields.pop("lane")), fields.pop("second")
    return lane, Objective(lane=lane, second=SecondLimit(**second) if second else None, **fields)


class Pacer:
    """Calls `send` in the event loop soon after each tick of a clock that a thread watches."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Any) -> None:
        self._loop = loop
        self._send = send
        self._stop = threading.Event()
        self._sent = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pacer", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def close(self) -> None:
        """Stop. Idempotent."""
        self._stop.set()
        self._sent.set()
        if self._thread.is_alive():
            self._thread.join()

    def done(self) -> None:
        """The loop has sent what was due: the next tick may come."""
        self._sent.set()

    def _run(self) -> None:
        due = time.time_ns()
        while True:
            due = max(due + _TICK_NS, time.time_ns())
            time.sleep(max(0.0, (due - time.time_ns()) / 1e9))
            self._sent.clear()
            if self._stop.is_set():  # after `clear`, which may have undone the `set` of `close`
                return
            try:
                self._loop.call_soon_threadsafe(self._send)
            except RuntimeError:  # the loop has ended
                return
            self._sent.wait()


class PerfRun:
    """One test: `run` carries it out."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._plan = order.plan
        self.account = PerfAccount(order.plan, order.objectives)
        self._payloads: dict[Priority, Message] = payloads(order.plan.payload_bytes)
        self._channels = [channel_name(order.id, index) for index in range(order.plan.subscribers)]
        self._prefix = f"{order.id}-"
        self._publisher = AsyncPublisher(
            order.publisher_targets, source="lanecast perf-test", token=order.token, settings=_SETTINGS
        )
        self._sockets: list[PerfSocket] = []
        self._all_sent = asyncio.Event()
        self._all_here = asyncio.Event()
        self._pacer = Pacer(asyncio.get_running_loop(), self._send_due)

    async def run(self) -> None:
        """Connect, send everything, and wait for what is on its way.

        Raises:
            LanecastError: the publisher or a gateway cannot be used.
        """
        progress: asyncio.Task[None] | None = None
        try:
            await self._connect()
            gc.collect()
            gc.freeze()
            self.account.started_ns = time.time_ns() + _LEAD_NS
            progress = asyncio.create_task(self._report(), name="progress")
            self._pacer.start()
            await self._all_sent.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_here.wait(), SETTLE_SECONDS)
        finally:
            self._pacer.close()
            if progress is not None:
                progress.cancel()
                await asyncio.gather(progress, return_exceptions=True)
            await self._disconnect()

    def response(self, *, final: bool = False) -> metrics_pb2.RunPerformanceTestResponse:
        """Return the progress so far, or the result."""
        account = self.account
        response = metrics_pb2.RunPerformanceTestResponse(
            id=self._order.id,
            progress=1.0 if final else min(0.999, account.sent / self._plan.events),
            planned=self._plan.events,
            sent=account.sent,
            received=account.received,
            figures=map(messages.latency_figure, account.figures()),
            rejected=account.rejected,
            lateness_p99_seconds=account.lateness.quantile(0.99),
        )
        if final:
            status = account.status(time.time_ns())
            response.grade = metrics_pb2.Grade.ValueType(status.grade)
            response.lost = account.lost
            response.duplicated = account.duplicated
            response.remarks.extend([*account.remarks(), *self._broken()])
        return response

    async def _connect(self) -> None:
        await self._publisher.connect()
        urls = self._order.gateway_urls
        on_batch = self._on_batch
        self._sockets = [
            PerfSocket(urls[index % len(urls)], self._order.token, channel, on_batch)
            for index, channel in enumerate(self._channels)
        ]
        for begin in range(0, len(self._sockets), _OPENING_AT_ONCE):
            async with asyncio.TaskGroup() as group:
                for socket in self._sockets[begin : begin + _OPENING_AT_ONCE]:
                    group.create_task(socket.open())

    async def _disconnect(self) -> None:
        try:
            with suppress(NotAcknowledgedError):  # each failure was counted already
                await self._publisher.close()
        finally:
            for socket in self._sockets:
                socket.close()

    def _send_due(self) -> None:
        account, plan = self.account, self._plan
        due = plan.due_by(time.time_ns() - account.started_ns)
        channels, prefix = self._channels, self._prefix
        while account.sent < due:
            number = account.sent
            lane = account.lane_of(number)
            account.on_sent(time.time_ns())
            try:
                future = self._publisher.publish_nowait(
                    channels[number % len(channels)], self._payloads[lane], priority=lane, id=f"{prefix}{number}"
                )
            except PublishError:
                account.on_refused(number)
            else:
                future.add_done_callback(partial(self._acknowledged, number))
        if account.sent == plan.events:
            self._all_sent.set()
            self._look()
        self._pacer.done()

    def _acknowledged(self, number: int, future: asyncio.Future[Ack]) -> None:
        if future.cancelled() or future.exception() is not None:
            self.account.on_refused(number)
            self._look()

    def _on_batch(self, batch: EventBatch, now_ns: int) -> None:
        account, prefix = self.account, self._prefix
        skip = len(prefix)
        for event in batch.events:
            name = event.id
            number = int(name[skip:]) if name.startswith(prefix) and name[skip:].isdecimal() else -1
            stamps = Stamps(
                event.create_time_unix_nano, event.send_time_unix_nano, event.accept_time_unix_nano,
                event.store_time_unix_nano, batch.flush_time_unix_nano, batch.edge_receive_time_unix_nano,
                batch.edge_send_time_unix_nano, now_ns,
            )  # fmt: skip
            account.on_received(number, stamps)
        self._look()

    def _look(self) -> None:
        if self._all_sent.is_set() and self.account.complete:
            self._all_here.set()

    def _broken(self) -> list[str]:
        lost = [socket.lost for socket in self._sockets if socket.lost]
        return [f"{len(lost)} of {len(self._sockets)} subscribers lost their connection: {lost[0]}."] if lost else []

    async def _report(self) -> None:
        while True:
            say(self.response())
            await asyncio.sleep(PROGRESS_SECONDS)


def say(message: Message) -> None:
    """Write a message on a line of standard output."""
    sys.stdout.write(MessageToJson(message, indent=None) + "\n")
    sys.stdout.flush()


async def _run(order: Order) -> None:
    run = PerfRun(order)
    work = asyncio.create_task(run.run(), name="test")
    parent = asyncio.create_task(_parent_gone(), name="parent")
    await asyncio.wait({work, parent}, return_when=asyncio.FIRST_COMPLETED)
    wanted = work.done()
    for task in (work, parent):
        task.cancel()
    await asyncio.gather(work, parent, return_exceptions=True)
    if wanted:
        work.result()
        say(run.response(final=True))


async def _parent_gone() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def main() -> None:
    """Run the process; see the module."""
    import uvloop

    order = Order.from_json(sys.stdin.readline())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(order))
    except* LanecastError as group:
        _say_failure(_first(group))


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _say_failure(error: BaseException) -> None:
    code, reason = (error.code, error.reason) if isinstance(error, StatusError) else (14, "PERF_TEST_UNREACHABLE")
    sys.stdout.write(json.dumps({"failed": {"code": code, "reason": reason, "message": str(error)}}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
