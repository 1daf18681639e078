"""The rules of appending, against a stream that loses requests, answers and connections."""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lanecast.core.priority import Priority
from publisher_svc.log.base import Entry, LogError, LogFullError
from publisher_svc.log.jetstream.core.queue import Append, AppendLimits, AppendQueue

LIMITS = AppendLimits(message_bytes=300, append_seconds=10, message_seconds=100)


def entry(number: int) -> Entry:
    return Entry("a", Priority.HIGH, str(number), b"x" * 40, 0)


class Bench:
    """A queue and what its callers were told."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.queue = AppendQueue(
            LIMITS, lambda entries: ",".join(each.event_id for each in entries).encode(), lambda: f"m{next(numbers)}"
        )
        self.told: dict[int, LogError | None] = {}
        self.order: list[int] = []
        self._numbers = itertools.count()

    def add(self, count: int, now: float = 0.0) -> int:
        number = next(self._numbers)

        def on_done(error: LogError | None) -> None:
            assert number not in self.told, "told twice"
            self.told[number] = error
            self.order.append(number)

        self.queue.add(Append([entry(number * 100 + i) for i in range(count)], now + LIMITS.append_seconds, on_done))
        return number


def test_what_waits_shares_the_next_message() -> None:
    bench = Bench()
    bench.add(1)
    first = bench.queue.take(0)
    assert first is not None
    bench.add(1)
    bench.add(1)
    assert bench.queue.take(0) is first
    bench.queue.stored(first, 7)
    second = bench.queue.take(0)
    assert second is not None
    assert second.data == b"100,200"


def test_a_message_has_its_bound_in_bytes() -> None:
    bench = Bench()
    bench.add(9)
    packed = bench.queue.take(0)
    assert packed is not None
    assert len(packed.entries) == 2


def test_one_is_acknowledged_once_it_is_stored_and_read() -> None:
    bench = Bench()
    bench.add(1)
    packed = bench.queue.take(0)
    assert packed is not None
    bench.queue.stored(packed, 7)
    assert not bench.told
    bench.queue.read(packed.id)
    assert bench.told == {0: None}


def test_reading_alone_is_no_acknowledgement() -> None:
    bench = Bench()
    bench.add(1)
    packed = bench.queue.take(0)
    assert packed is not None
    bench.queue.read(packed.id)
    assert not bench.told
    bench.queue.stored(packed, 7)
    assert bench.told == {0: None}


def test_no_answer_in_time_fails_what_waits_behind_and_the_message_goes_on() -> None:
    bench = Bench()
    bench.add(1)
    packed = bench.queue.take(0)
    assert packed is not None
    bench.add(1, now=9)
    bench.queue.expire(10)
    assert bench.order == [0, 1]
    assert all(isinstance(error, LogError) for error in bench.told.values())
    bench.add(1, now=11)
    assert bench.queue.take(11) is packed, "its events must not fall behind later ones"
    assert bench.queue.own(packed.id) is None, "its events are nobody's now"
    bench.queue.stored(packed, 7)
    following = bench.queue.take(12)
    assert following is not None
    assert following.data == b"200"


def test_a_message_is_not_sent_when_the_stream_may_have_forgotten_its_id() -> None:
    bench = Bench()
    bench.add(1)
    bench.queue.take(0)
    assert bench.queue.take(99) is not None
    assert bench.queue.take(100) is None
    assert bench.queue.is_idle


def test_a_refusal_fails_everything_behind() -> None:
    bench = Bench()
    bench.add(1)
    packed = bench.queue.take(0)
    assert packed is not None
    bench.add(1)
    full = LogFullError("full")
    bench.queue.refused(packed, full)
    assert bench.told == {0: full, 1: full}
    assert bench.queue.take(0) is None


def test_what_is_stored_but_never_read_does_not_wait_for_ever() -> None:
    bench = Bench()
    bench.add(1)
    packed = bench.queue.take(0)
    assert packed is not None
    bench.queue.stored(packed, 7)
    assert bench.queue.next_deadline() == 10
    bench.queue.expire(10)
    assert isinstance(bench.told[0], LogError)


class ModelStream:
    """Remembers ids of messages; keeps first copies in order."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes]] = []

    def publish(self, message_id: str, data: bytes) -> int:
        for place, (known, _) in enumerate(self.log):
            if known == message_id:
                return place + 1
        self.log.append((message_id, data))
        return len(self.log)


@example(["add", "add", "add", "send", "wait", "wait", "wait"])  # what is stored but not read fails first
@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["add", "add3", "send", "lose-answer", "lose-request", "read", "wait"]), max_size=60))
def test_nothing_acknowledged_is_lost_or_reordered(steps: list[str]) -> None:
    bench, stream = Bench(), ModelStream()
    now, read_to = 0.0, 0
    for step in steps:
        if step.startswith("add"):
            bench.add(int(step[3:] or 1), now)
        elif step == "wait":
            now += 4
            bench.queue.expire(now)
        elif step == "read":
            for message_id, _ in stream.log[read_to:]:
                bench.queue.own(message_id)
                bench.queue.read(message_id)
            read_to = len(stream.log)
        else:
            packed = bench.queue.take(now)
            if packed is None or step == "lose-request":
                continue
            sequence = stream.publish(packed.id, packed.data)
            if step == "send":
                bench.queue.stored(packed, sequence)
    stored = [int(number) for _, data in stream.log for number in data.decode().split(",")]
    assert stored == sorted(stored), "order"
    assert len(stored) == len(set(stored)), "uniqueness"
    for number, error in bench.told.items():
        assert error is not None or number * 100 in stored, "a false acknowledgement"
    assert bench.order == sorted(bench.order)
