"""What the four examples share: options, pacing, publishing, signals and exit codes.

Owns no learning and no decision; an example hands over an iterator of events and this sends them. It is a plain module
beside the examples' folders, so each `main.py` adds its parent folder to `sys.path` before importing it.

Exit codes: 0 done or told to stop, 1 events were not confirmed, 2 a wrong option or a missing library.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.message import Message

from lanecast import Ack, AsyncPublisher, Priority
from lanecast.errors import LanecastError, NotAcknowledgedError

DEFAULT_TARGET = "127.0.0.1:7400"
MAX_IN_FLIGHT = 256
"""Events that may wait for their acknowledgement before the example waits, too."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event to send."""

    channel: str
    message: Message
    priority: Priority


Events = Iterator[Outgoing | None]
"""What an example produces; None is a step of its pace in which there is nothing to send."""


def parser(description: str, *, rate: float, rate_help: str) -> argparse.ArgumentParser:
    """Return a parser with the options every example has."""
    result = argparse.ArgumentParser(description=description, allow_abbrev=False)
    result.add_argument(
        "--target", action="append", metavar="HOST:PORT", help=f"publisher; may be repeated (default {DEFAULT_TARGET})"
    )
    result.add_argument("--rate", type=_positive, default=rate, help=f"{rate_help} (default {rate:g})")
    result.add_argument("--count", type=_count, default=0, help="stop after so many events; 0 = go on (default 0)")
    result.add_argument("--seed", type=int, default=7, help="seed of everything that is random (default 7)")
    return result


def run(options: argparse.Namespace, prepare: Callable[[argparse.Namespace], Events]) -> int:
    """Prepare the events, send them, and return the exit code."""
    try:
        events = prepare(options)
        return asyncio.run(_send(options, events))
    except ModuleNotFoundError as error:
        return missing_library(error)
    except KeyboardInterrupt:  # before the loop watches signals, for example while a model is trained
        return 0
    except LanecastError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def missing_library(error: ModuleNotFoundError) -> int:
    """Say which library is missing and how to get it; return the exit code."""
    sys.stderr.write(f"This example needs {error.name}: run `pip install 'lanecast[examples]'` and start it again.\n")
    return 2


def watch_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait `seconds` or until `stop`; return whether to go on."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(seconds, 0))
    return not stop.is_set()


async def _send(options: argparse.Namespace, events: Events) -> int:
    stop = asyncio.Event()
    watch_signals(stop)
    tally = Tally()
    try:
        async with AsyncPublisher(options.target or [DEFAULT_TARGET]) as publisher:
            await _pace(options, events, publisher, stop, tally)
    except NotAcknowledgedError as error:
        sys.stderr.write(f"{error}\n")
    await tally.settled()
    sys.stdout.write(f"{tally.confirmed} events confirmed, {tally.unconfirmed} not\n")
    return 1 if tally.unconfirmed else 0


async def _pace(
    options: argparse.Namespace, events: Events, publisher: AsyncPublisher, stop: asyncio.Event, tally: Tally
) -> None:
    clock = asyncio.get_running_loop().time
    due = clock()
    sent = 0
    for event in events:
        if event is not None:
            await tally.room(stop)
            if stop.is_set():
                return
            tally.add(publisher.publish_nowait(event.channel, event.message, priority=event.priority))
            sent += 1
            if sent == options.count:
                return
        due = max(due + 1 / options.rate, clock() - 1)  # after a pause, do not catch up with a burst
        if not await pause(stop, due - clock()):
            return


class Tally:
    """Counts what became of the events and bounds how many are under way."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.unconfirmed = 0
        self._waiting: set[asyncio.Future[Ack]] = set()

    def add(self, ack: asyncio.Future[Ack]) -> None:
        """Follow one event."""
        self._waiting.add(ack)
        ack.add_done_callback(self._done)

    async def room(self, stop: asyncio.Event) -> None:
        """Wait until another event may be sent, or until `stop`."""
        while len(self._waiting) >= MAX_IN_FLIGHT and not stop.is_set():
            await asyncio.wait(self._waiting, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)

    async def settled(self) -> None:
        """Wait until each event's fate is known; a closed publisher has decided all of them."""
        if self._waiting:
            await asyncio.wait(self._waiting)

    def _done(self, ack: asyncio.Future[Ack]) -> None:
        self._waiting.discard(ack)
        if ack.cancelled():
            self.unconfirmed += 1
        elif (error := ack.exception()) is not None:
            self.unconfirmed += 1
            sys.stderr.write(f"{error}\n")
        else:
            self.confirmed += 1


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a rate: use a number above 0, at most 1000000")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a count: use 0 or more")
    return value
