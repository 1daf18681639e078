"""One bot: talks to customers at its desk and hands them over to others. Started by `main.py`, one process each.

    python examples/bots/bot.py --name sales --state-dir bots-state

Owns the process: stream, clock, state file. What is decided is decided in `handoff.py`. The order is always the same:
decide, write the state, then publish. A bot that is killed at any point reads its state, goes on in the log behind what
it had handled, and asks again for whatever was under way.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

from lanecast import AsyncPublisher, FileCursorStore, Priority, Start, Subscriber
from lanecast.errors import BufferFullError, LanecastError, NotAcknowledgedError
from lanecast.subscriber import EventStream

sys.path.append(str(Path(__file__).resolve().parents[1]))

import service
from desks import CUSTOMER, DESKS, desk_for, load, reply
from handoff import Desk, Line, Message, Timing
from wire import CHANNEL, from_event, to_event

RETRY_SECONDS = 0.5
TRIES_PER_TURN = 2
"""Offers for one turn after which a bot answers itself: nobody else has time for the customer."""
QUIET_STEPS = 5
"""Steps without a handoff under way after which a bot that was told to stop does so."""


class StateFile:
    """A desk on disk. Writing replaces the file as a whole, which survives a kill of the process at any point."""

    def __init__(self, directory: Path, name: str) -> None:
        self._path = directory / f"{name}.json"
        self._name = name

    def read(self, timing: Timing) -> Desk:
        """Return what was written last, or a new desk."""
        if not self._path.exists():
            return Desk(self._name, timing)
        return Desk.from_json(self._path.read_text(encoding="utf-8"))

    def write(self, desk: Desk) -> None:
        """Replace what was written."""
        new = self._path.with_suffix(".new")
        new.write_text(desk.to_json(), encoding="utf-8")
        new.replace(self._path)


class Bot:
    """The desk of one bot, connected."""

    def __init__(self, desk: Desk, state: StateFile, publisher: AsyncPublisher, run: str) -> None:
        self._desk = desk
        self._state = state
        self._publisher = publisher
        self._run = run
        self._scripts = load()
        self._tries: Counter[tuple[str, int]] = Counter()

    async def listen(self, stream: EventStream) -> None:
        """Take in what the bots say, for ever."""
        async for delivery in stream:
            event = delivery.message
            message = from_event(event)  # type: ignore[arg-type]  # only BotHandoff is published to this channel
            if message is not None:
                self._carry_out(self._desk.receive(message, time.time()))

    def step(self, *, stopping: bool) -> bool:
        """Do one thing of one's own accord; return whether a handoff is under way."""
        now = time.time()
        messages = self._desk.tick(now)
        if not stopping:
            self._open_another()
            messages += self._go_on(now)
        self._carry_out(messages)
        return not self._desk.settled

    def _open_another(self) -> None:
        desk = self._desk
        if desk.name == DESKS[0] and len(desk.owned) < desk.capacity // 2:
            scripts = list(self._scripts)
            number = desk.counts.opened
            desk.open(f"{scripts[number % len(scripts)]}-{self._run}-{number + 1}")

    def _go_on(self, now: float) -> list[Message]:
        """Answer the next customer, hand one over, or say goodbye."""
        desk = self._desk
        if not desk.idle_talks:
            return []
        talk = min((desk.owned[talk_id] for talk_id in desk.idle_talks), key=lambda talk: len(talk.lines))
        script = self._scripts[talk.id.rsplit("-", 2)[0]]
        turn = sum(line.speaker == CUSTOMER for line in talk.lines)
        if turn == len(script):
            desk.close(talk.id)
            return []
        text = script[turn][1]
        target = desk_for(text, desk.name)
        if target != desk.name and self._tries[talk.id, turn] < TRIES_PER_TURN:
            self._tries[talk.id, turn] += 1
            return desk.offer(talk.id, target, now, reason=f"Words for {target}.", summary=f"The customer says: {text}")
        for key in [key for key in self._tries if key[0] == talk.id]:
            del self._tries[key]
        desk.say(talk.id, [Line(CUSTOMER, text, now), Line(desk.name, reply(desk.name, turn), now)])
        return []

    def _carry_out(self, messages: list[Message]) -> None:
        self._state.write(self._desk)
        for message in messages:
            try:
                self._publisher.publish_nowait(CHANNEL, to_event(message), priority=Priority.HIGH)
            except BufferFullError:
                return  # the publisher has been away for long; what is unanswered is sent again by `tick`


async def run(options: argparse.Namespace) -> int:
    """Run one bot until it is told to stop; return the exit code."""
    stop = asyncio.Event()
    service.watch_signals(stop)
    supervisor = await _watch_supervisor(stop) if options.supervised else None
    directory, name = Path(options.state_dir), options.name
    state = StateFile(directory, name)
    desk = state.read(Timing(RETRY_SECONDS, options.timeout))
    targets = service.targets(options)
    cursors = FileCursorStore(directory / "cursors.db", name)
    try:
        async with (
            AsyncPublisher(targets, source=f"bots/{name}") as publisher,
            Subscriber(targets, name=f"bots/{name}", cursors=cursors) as subscriber,
            subscriber.events(CHANNEL, lanes=(Priority.HIGH,), start=Start.LATEST) as stream,
        ):
            await _work(Bot(desk, state, publisher, options.run), stream, stop, 1 / options.rate, options.timeout)
    except NotAcknowledgedError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    finally:
        if supervisor is not None:
            supervisor.close()
    return 0


async def _work(bot: Bot, stream: EventStream, stop: asyncio.Event, pace: float, timeout_seconds: float) -> None:
    listening = asyncio.create_task(bot.listen(stream))
    try:
        while await service.pause(stop, pace):
            bot.step(stopping=False)
            if listening.done():
                return listening.result()
        await _finish(bot, timeout_seconds)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def _finish(bot: Bot, timeout_seconds: float) -> None:
    """Let the handoffs that are under way come to an end: their offers lapse after the timeout at the latest."""
    step = 0.1
    quiet = 0
    for _ in range(int((timeout_seconds + 1) / step)):
        quiet = 0 if bot.step(stopping=True) else quiet + 1
        if quiet == QUIET_STEPS:
            return
        await asyncio.sleep(step)


class _EndOfInput(asyncio.Protocol):
    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._stop.set()


async def _watch_supervisor(stop: asyncio.Event) -> asyncio.BaseTransport:
    """Stop when standard input ends, which it does when `main.py` is gone, however it went."""
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _EndOfInput(stop), sys.stdin)
    return transport


def main(arguments: list[str] | None = None) -> int:
    """Run one bot; return the exit code."""
    parser = service.parser("bot", "One bot of the handoff example.", rate=2, rate_help="things it does a second")
    parser.add_argument("--name", required=True, choices=DESKS, help="which desk it sits at")
    parser.add_argument("--state-dir", required=True, help="directory of its state and its place in the log")
    parser.add_argument("--run", default="1", help="part of the names of its conversations (default 1)")
    parser.add_argument("--timeout", type=float, default=5, help="seconds after which an offer lapses (default 5)")
    parser.add_argument("--supervised", action="store_true", help="stop when standard input ends")
    try:
        return asyncio.run(run(parser.parse_args(arguments)))
    except LanecastError as error:
        return service.failed(error)


if __name__ == "__main__":
    sys.exit(main())
