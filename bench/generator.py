"""The generator process: sends each event when it is due, whatever the server does.

Owns the pace. It never waits for an acknowledgement; being late is measured and reported, and since latency counts from
the scheduled time, lateness is never hidden. Started and spoken to like the receiver.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from bench import figures, mark, scenario, systems
from bench.accounting import Histograms
from bench.machine import raise_open_files_limit
from bench.pacing import Alarm
from bench.receiver import say
from bench.schedule import Plan, plan
from bench.systems.base import Endpoints, Publisher
from lanecast.core.sketch import Sketch
from lanecast.runtime.scheduling import be_urgent, give_way

_EVENTS_PER_TURN = 64
"""Most events sent before the loop may do something else: a generator that is behind still lets its SDK write."""
_PROGRESS_SECONDS = 0.5
_CROWDED_EVENTS_PER_SECOND = 4_000
_CROWDED_TICK_NS = 500_000
"""Above that rate the generator wakes only this often and sends all that is due: waking up costs as much as sending.
The lateness that this makes is in every latency, and is the same for every system."""


class Generator:
    """Sends one plan through one publisher."""

    def __init__(self, publisher: Publisher, events: Plan, channels: list[str], largest: int) -> None:
        self._publisher = publisher
        self._events = events
        self._channels = channels
        self._filler = mark.Filler(largest)
        self._next = 0
        self._start_ns = 0
        span_ns = events.due_ns[len(events) - 1] - events.due_ns[0] if len(events) > 1 else 0
        crowded = len(events) * 1_000_000_000 > _CROWDED_EVENTS_PER_SECOND * span_ns > 0
        self._tick_ns = _CROWDED_TICK_NS if crowded else 0
        self._lateness_ns = array("q")
        loop = asyncio.get_running_loop()
        self._alarm = Alarm(loop, self._ring)
        self._finished: asyncio.Future[None] = loop.create_future()

    @property
    def sent(self) -> int:
        """Events handed over so far."""
        return self._next

    @property
    def lateness(self) -> Sketch:
        """How late events were handed over. Made by the thousand when it is asked for, not for each event."""
        found = Histograms(1)
        late = np.array(self._lateness_ns, dtype=np.int64)
        found.record(np.zeros_like(late), late)
        return found.sketch(0)

    async def run(self, start_ns: int) -> None:
        """Send everything; returns after the last event."""
        self._start_ns = start_ns
        if len(self._events):
            first = start_ns + self._events.due_ns[0]
            if self._tick_ns:
                self._alarm.every(-(-first // self._tick_ns) * self._tick_ns, self._tick_ns)
            else:
                self._alarm.set(first)
            await self._finished
        self._alarm.close()

    def _ring(self) -> None:
        if self._finished.done():
            return
        try:
            self._send_due()
            give_way()
        except Exception as error:  # noqa: BLE001 - whatever it is ends the run, in `run`
            self._finished.set_exception(error)

    def _send_due(self) -> None:
        events, number, start = self._events, self._next, self._start_ns
        due, channels, payload, send = events.due_ns, self._channels, self._filler.payload, self._publisher.send
        end = min(number + _EVENTS_PER_TURN, len(events))
        while number < end:
            scheduled, now = start + due[number], time.time_ns()
            if scheduled > now:
                break
            channel, lane = events.channel[number], events.lane[number]
            label = mark.encode(scheduled, now, channel, events.sequence[number], lane, events.load[number])
            send(number, channels[channel], lane, payload(label, events.size[number]))
            self._lateness_ns.append(now - scheduled)
            number += 1
        self._publisher.flush()
        self._next = number
        if number == len(events):
            self._finished.set_result(None)
        elif not self._tick_ns:
            self._alarm.set(self._start_ns + due[number])


async def _progress(generator: Generator) -> None:
    while True:
        say(sent=generator.sent)
        await asyncio.sleep(_PROGRESS_SECONDS)


async def _run(order: dict[str, Any]) -> None:
    chosen = scenario.from_dict(order["scenario"])
    channels = [scenario.channel_name(index) for index in range(chosen.channels)]
    publisher = systems.get(order["system"]).publisher(Endpoints(**order["endpoints"]), channels)
    events = plan(chosen, order["publisher"])
    await publisher.open()
    generator = Generator(publisher, events, channels, chosen.payload_bytes[1])
    say(ready=len(events))
    command = (await asyncio.to_thread(sys.stdin.readline)).split()
    if not command:
        return
    gc.collect()
    gc.freeze()
    gc.disable()  # a run is short, and its futures are kept to its end: collecting would only make it late
    progress = asyncio.create_task(_progress(generator))
    await generator.run(int(command[1]))
    await publisher.close()
    progress.cancel()
    await asyncio.gather(progress, return_exceptions=True)
    refused = publisher.refused()
    np.savez(Path(order["result"]), refused=_positions(events, refused))
    say(
        done=True,
        sent=generator.sent,
        lateness=figures.latency(generator.lateness).as_dict(),
        refused=Counter(refused.values()),
        counters=publisher.counters(),
    )


def _positions(events: Plan, refused: dict[int, str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    rows = [(events.load[number], events.channel[number], events.sequence[number]) for number in refused]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def main() -> None:
    """Run the process; see the module."""
    raise_open_files_limit()
    order = json.loads(sys.stdin.readline())
    be_urgent()  # what measures must be punctual
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(order))
    except Exception as error:  # noqa: BLE001 - the suite prints it; this process has no terminal
        say(failed=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
