"""What the four examples share: options, pacing, publishing, signals and exit codes.

Owns no learning and no decision; an example hands over an iterator of events and this sends them. It is a plain module
beside the examples' folders, so each `main.py` adds its parent folder to `sys.path` before importing it.

Exit codes: 0 done or told to stop, 1 events were not confirmed, 2 a wrong option or a missing library, 3 no publisher.
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

from lanecast import AsyncPublisher, Priority
from lanecast.errors import BufferFullError, LanecastError, NotAcknowledgedError, UnavailableError

DEFAULT_TARGET = "127.0.0.1:7400"
LEAST_PAUSE_SECONDS = 0.02
"""What is due sooner than that goes at once with what is due now: a computer is woken 50 times a second at most."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event to send."""

    channel: str
    message: Message
    priority: Priority


Events = Iterator[Outgoing | None]
"""What an example produces; None is a step of its pace in which there is nothing to send."""


def parser(
    name: str, description: str, *, rate: float, rate_help: str, counted: str = "events"
) -> argparse.ArgumentParser:
    """Return a parser with the options every example has."""
    result = argparse.ArgumentParser(prog=name, description=description, allow_abbrev=False)
    result.add_argument(
        "--target", action="append", metavar="HOST:PORT", help=f"publisher; may be repeated (default {DEFAULT_TARGET})"
    )
    result.add_argument("--rate", type=rate_of, default=rate, help=f"{rate_help} (default {rate:g})")
    result.add_argument("--count", type=_count, default=0, help=f"stop after so many {counted}; 0 = go on (default 0)")
    result.add_argument("--seed", type=int, default=7, help="seed of everything that is random (default 7)")
    return result


def targets(options: argparse.Namespace) -> list[str]:
    """Return the publishers to use."""
    return options.target or [DEFAULT_TARGET]


def run(name: str, options: argparse.Namespace, prepare: Callable[[argparse.Namespace], Events]) -> int:
    """Prepare the events, send them until they end or SIGTERM or Ctrl-C comes, and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the loop watches signals
    try:
        return asyncio.run(_send(name, options, prepare(options)))
    except ModuleNotFoundError as error:
        return missing_library(error)
    except KeyboardInterrupt:  # came while the model was being trained
        return 0
    except LanecastError as error:
        return failed(error)


def missing_library(error: ModuleNotFoundError) -> int:
    """Say which library is missing and how to get it; return the exit code."""
    library = (error.name or "a library").partition(".")[0]
    sys.stderr.write(f"This example needs {library}: run `pip install 'lanecast[examples]'` and start it again.\n")
    return 2


def failed(error: LanecastError) -> int:
    """Say what is wrong; return the exit code."""
    sys.stderr.write(f"{error}\n")
    return 3 if isinstance(error, UnavailableError) else 1


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


async def _send(name: str, options: argparse.Namespace, events: Events) -> int:
    stop = asyncio.Event()
    watch_signals(stop)
    publisher = AsyncPublisher(targets(options), source=name)
    unconfirmed = 0
    try:
        async with publisher:
            await _pace(options, events, publisher, stop)
    except NotAcknowledgedError as error:
        unconfirmed = len(error.event_ids)
        sys.stderr.write(f"{error}\n")
    sys.stdout.write(f"{name}: {publisher.statistics().acknowledged} events confirmed, {unconfirmed} not\n")
    return 1 if unconfirmed else 0


async def _pace(options: argparse.Namespace, events: Events, publisher: AsyncPublisher, stop: asyncio.Event) -> None:
    clock = asyncio.get_running_loop().time
    due = clock()
    sent = 0
    for event in events:
        if event is not None:
            while not _handed_over(publisher, event):
                if not await pause(stop, 0.1):
                    return
            sent += 1
            if sent == options.count:
                return
        due = max(due + 1 / options.rate, clock() - 1)  # after a pause, do not catch up with a burst
        if due - clock() < LEAST_PAUSE_SECONDS:
            continue
        if not await pause(stop, due - clock()):
            return


def _handed_over(publisher: AsyncPublisher, event: Outgoing) -> bool:
    """Hand an event to the publisher, which sends it; return False where its buffer is full."""
    try:
        publisher.publish_nowait(event.channel, event.message, priority=event.priority)
    except BufferFullError:
        return False
    return True


def size(text: str) -> int:
    """Return a number of things, from 1 to 10,000."""
    value = int(text)
    if not 1 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 to 10000")
    return value


def both(one: Events, rate: float, other: Events, other_rate: float) -> Events:
    """Mix two streams of events, each at its rate; the mixture's rate is their sum."""
    ahead = 0.0
    while True:
        ahead += rate / (rate + other_rate)
        if ahead >= 1:
            ahead -= 1
            yield next(one)
        else:
            yield next(other)


def rate_of(text: str) -> float:
    """Return events a second."""
    value = float(text)
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a rate: use a number above 0, at most 1000000")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a count: use 0 or more")
    return value
