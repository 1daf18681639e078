"""The publisher's buffer: priority, coalescing, credit, retries, disconnects; each event has exactly one outcome."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core.priority import LANES, Priority
from lanecast.errors import PublisherClosedError
from lanecast.publisher.core.ack import Ack
from lanecast.publisher.core.encoding import EventEncoder, route_prefix
from lanecast.publisher.core.outbox import Outbox, ProtocolError
from lanecast.publisher.core.outcome import Failed, Stored
from lanecast.publisher.core.settings import OutboxSettings
from lanecast.v1.event_pb2 import Event, EventError
from lanecast.v1.publisher_pb2 import (
    PublishAcks,
    PublishEventStreamRequest,
    PublishMessage,
    PublishOpened,
    PublishResult,
)

SETTINGS = OutboxSettings()
OPENED = PublishOpened(epoch="e", credit_bytes=1 << 20, max_events=1000, dedup_window_seconds=120)


class Driver:
    """An outbox with a clock of its own and an encoder."""

    def __init__(self, settings: OutboxSettings = SETTINGS, opened: PublishOpened | None = OPENED) -> None:
        self.outbox = Outbox(settings)
        self.now = 100.0
        self._encoder = EventEncoder()
        if opened is not None:
            self.outbox.opened(opened)

    def add(self, event_id: str, channel: str = "a", lane: Priority = Priority.CRITICAL, text: str = "") -> bool:
        data = self._encoder.encode(event_id, route_prefix(channel, lane), ConciergeInsight(text=text), 7)
        return self.outbox.add(self.outbox.chain(channel, lane), event_id, data, event_id, self.now)

    def message(self) -> PublishMessage | None:
        data = self.outbox.next_message(self.now, 8)
        return None if data is None else PublishEventStreamRequest.FromString(data).publish

    def sent(self) -> list[str]:
        message = self.message()
        return [] if message is None else [event.id for event in message.events]

    def ack(self, first: int, *results: PublishResult, offsets: Sequence[int] = ()) -> None:
        acks = PublishAcks(epoch="e", first_sequence=first, offsets=offsets, results=results)
        self.outbox.acknowledge(acks, self.now)

    def outcomes(self) -> dict[str, str]:
        result: dict[str, str] = {}
        for outcome in self.outbox.take_outcomes():
            if isinstance(outcome, Failed):
                fates = {outcome.entry.id: outcome.error.reason}
            else:
                fates = {ack.id: "ok" for ack in outcome.acks()}
                assert [entry.id for entry in outcome.entries] == list(fates)
            assert not fates.keys() & result.keys()
            result |= fates
        return result


def stored(offset: int = 1, *, duplicate: bool = False) -> PublishResult:
    return PublishResult(offset=offset, duplicate=duplicate)


def refusal(code: int = 8, delay_millis: int = 100, reason: str = "OVERLOADED") -> PublishResult:
    return PublishResult(error=EventError(code=code, reason=reason, message="later", retry_delay_millis=delay_millis))


def test_an_event_leaves_at_once_and_is_acknowledged_by_its_number() -> None:
    driver = Driver()
    driver.add("1")
    message = driver.message()
    assert message is not None
    assert (message.first_sequence, message.events[0].id, message.events[0].send_time_unix_nano) == (1, "1", 8)
    driver.ack(1, stored(9, duplicate=True))
    (outcome,) = driver.outbox.take_outcomes()
    assert isinstance(outcome, Stored)
    assert [entry.waiter for entry in outcome.entries] == ["1"]
    assert outcome.acks() == [Ack("1", "a", "e", 9, duplicate=True)]
    assert outcome.acks()[0].position.offset == 9
    assert (driver.outbox.buffered_events, driver.outbox.buffered_bytes, driver.outbox.in_flight_bytes) == (0, 0, 0)
    assert driver.outbox.duplicates == 1


def test_offsets_answer_the_first_events_and_results_those_behind() -> None:
    driver = Driver()
    for number in "12345":
        driver.add(number)
    driver.sent()
    driver.ack(1, offsets=[7])
    driver.ack(2, stored(9), offsets=[8])
    driver.ack(4, stored(11, duplicate=True), offsets=[10])
    assert [
        ack for outcome in driver.outbox.take_outcomes() if isinstance(outcome, Stored) for ack in outcome.acks()
    ] == [Ack(str(number), "a", "e", number + 6, duplicate=number == 5) for number in range(1, 6)]
    assert (driver.outbox.acknowledged, driver.outbox.duplicates, driver.outbox.in_flight_bytes) == (5, 1, 0)


def test_a_message_takes_urgent_lanes_first_and_keeps_the_order_within_one() -> None:
    driver = Driver()
    for lane in reversed(LANES):
        for number in range(2):
            driver.add(f"{lane.name}{number}", lane=lane)
    assert driver.sent() == [f"{lane.name}{number}" for lane in LANES for number in range(2)]


def test_bulk_waits_for_company_while_something_is_unanswered_but_travels_with_express() -> None:
    driver = Driver()
    driver.add("first", lane=Priority.LOW)
    assert driver.sent() == ["first"]
    driver.add("bulk", lane=Priority.LOW)
    due = driver.now + SETTINGS.bulk_linger_seconds - 0.0005  # half a tick of the loop's clock
    assert driver.outbox.send_at(Priority.LOW) == pytest.approx(due)
    assert driver.sent() == []
    assert driver.outbox.wake_at(driver.now) == pytest.approx(due)
    driver.add("express")
    assert driver.sent() == ["express", "bulk"]
    driver.add("again", lane=Priority.NORMAL)
    driver.now += SETTINGS.bulk_linger_seconds
    assert driver.sent() == ["again"]
    driver.add("idle", lane=Priority.NORMAL)
    driver.ack(1, stored(), stored(), stored(), stored())
    assert driver.sent() == ["idle"]


def test_a_clock_that_is_a_rounding_error_early_does_not_keep_the_writer_spinning() -> None:
    driver = Driver()
    driver.now = 123.456
    driver.add("first", lane=Priority.LOW)
    assert driver.sent() == ["first"]
    driver.add("bulk", lane=Priority.LOW)
    driver.now = 123.456 + SETTINGS.bulk_linger_seconds - 1e-9
    assert driver.sent() == ["bulk"]


def test_a_full_message_of_bulk_does_not_wait() -> None:
    driver = Driver(opened=PublishOpened(credit_bytes=1 << 20, max_events=8))
    driver.add("first", lane=Priority.LOW)
    driver.sent()
    driver.add("2", lane=Priority.LOW)
    assert driver.sent() == []
    driver.add("3", lane=Priority.LOW)
    assert driver.outbox.send_at(Priority.LOW) < driver.now
    assert driver.sent() == ["2", "3"]


def test_a_message_has_no_more_events_than_the_service_takes() -> None:
    driver = Driver(opened=PublishOpened(credit_bytes=1 << 20, max_events=3))
    for number in range(5):
        driver.add(str(number))
    assert driver.sent() == ["0", "1", "2"]
    assert driver.sent() == ["3", "4"]


def test_a_lane_cannot_use_up_the_credit_of_another() -> None:
    driver = Driver(opened=PublishOpened(credit_bytes=2_000, max_events=1000))
    for number in range(20):
        driver.add(f"low{number}", lane=Priority.LOW, text="x" * 100)
    low = driver.sent()
    assert 0 < len(low) < 5
    driver.add("critical", text="x" * 100)
    assert driver.sent() == ["critical"]
    assert driver.outbox.in_flight_bytes <= 2_000


def test_an_event_larger_than_its_share_goes_when_its_lane_is_empty() -> None:
    driver = Driver(opened=PublishOpened(credit_bytes=2_000, max_events=1000))
    driver.add("large", text="x" * 1_500)
    assert driver.sent() == ["large"]


def test_granted_credit_lets_more_events_go() -> None:
    driver = Driver(opened=PublishOpened(credit_bytes=100, max_events=1000))
    driver.add("1", text="x" * 200)
    assert driver.sent() == []
    driver.outbox.grant(400)
    assert driver.sent() == ["1"]


def test_a_refusal_for_the_moment_is_retried_in_order_after_its_delay() -> None:
    driver = Driver()
    for number in "123":
        driver.add(number)
    driver.add("other", channel="b")
    assert driver.sent() == ["1", "2", "3", "other"]
    driver.ack(1, refusal())
    driver.add("4")
    driver.now += 1
    assert driver.sent() == []  # 2 and 3 are still on the wire
    driver.ack(2, refusal(10, 1, "OUT_OF_ORDER"), refusal(10, 0, "OUT_OF_ORDER"), stored())
    assert driver.outcomes() == {"other": "ok"}
    driver.now += 0.05
    assert driver.sent() == ["1", "2", "3", "4"]
    driver.ack(5, *[stored(number) for number in range(1, 5)])
    assert driver.outcomes() == dict.fromkeys("1234", "ok")
    assert driver.outbox.retried == 3


def test_the_delay_of_a_refusal_is_kept_and_announced() -> None:
    driver = Driver()
    driver.add("1")
    driver.sent()
    driver.ack(1, refusal(delay_millis=250))
    assert driver.sent() == []
    assert driver.outbox.wake_at(driver.now) == pytest.approx(driver.now + 0.25)
    driver.now += 0.26
    assert driver.sent() == ["1"]


@pytest.mark.parametrize(
    "result", [refusal(3, 0, "TYPE_UNKNOWN"), refusal(8, 0, "OVERLOADED"), refusal(3, 50, "TYPE_UNKNOWN")]
)
def test_a_final_refusal_fails_the_event_and_holds_nothing_up(result: PublishResult) -> None:
    driver = Driver()
    driver.add("1")
    driver.add("2")
    driver.sent()
    driver.ack(1, result, stored())
    assert driver.outcomes() == {"1": result.error.reason, "2": "ok"}
    assert driver.outbox.failed == 1


def test_a_lost_connection_sends_everything_unanswered_again_in_its_order() -> None:
    driver = Driver()
    for number in "1234":
        driver.add(number)
    assert driver.sent() == ["1", "2", "3", "4"]
    driver.ack(2, stored())
    driver.add("5")
    driver.outbox.disconnected()
    assert driver.sent() == []
    assert driver.outbox.credit_bytes == 0
    driver.outbox.opened(OPENED)
    message = driver.message()
    assert message is not None
    assert message.first_sequence == 1
    assert [event.id for event in message.events] == ["1", "3", "4", "5"]
    assert driver.outbox.resent == 3


def test_a_lost_connection_while_a_chain_is_parked_keeps_its_order() -> None:
    driver = Driver()
    for number in "123":
        driver.add(number)
    driver.sent()
    driver.ack(1, refusal())
    driver.add("4")
    assert driver.sent() == []
    driver.outbox.disconnected()
    driver.outbox.opened(OPENED)
    driver.now += 1
    assert driver.sent() == ["1", "2", "3", "4"]


def test_an_event_is_not_sent_again_once_the_service_may_have_forgotten_its_id() -> None:
    driver = Driver(replace(SETTINGS, delivery_seconds=1_000))
    driver.add("1")
    driver.sent()
    driver.outbox.disconnected()
    driver.now += 115
    driver.outbox.opened(OPENED)
    driver.add("2")
    assert driver.sent() == ["2"]
    assert driver.outcomes() == {"1": "UNCONFIRMED"}
    assert not driver.outbox.reconnect_wanted


def test_a_refused_event_is_certainly_not_stored_and_may_be_sent_later() -> None:
    driver = Driver(replace(SETTINGS, delivery_seconds=1_000))
    driver.add("1")
    driver.sent()
    driver.ack(1, refusal())
    driver.now += 500
    assert driver.sent() == ["1"]


def test_events_that_wait_too_long_fail_with_what_is_known_of_them() -> None:
    driver = Driver(opened=PublishOpened(credit_bytes=300, max_events=1000))
    driver.add("sent", text="x" * 150)
    driver.sent()
    driver.add("waiting", text="x" * 150)
    assert driver.sent() == []
    assert driver.outbox.wake_at(driver.now) == pytest.approx(driver.now + SETTINGS.delivery_seconds)
    driver.now += SETTINGS.delivery_seconds
    driver.outbox.expire(driver.now)
    errors = {failed.entry.id: failed.error for failed in driver.outbox.take_outcomes() if isinstance(failed, Failed)}
    assert (errors["sent"].reason, errors["waiting"].reason) == ("UNCONFIRMED", "NOT_SENT")
    assert "may or may not be stored" in str(errors["sent"])
    driver.ack(1, stored())  # the late answer frees the credit and is no second outcome
    assert driver.outcomes() == {}
    assert driver.outbox.in_flight_bytes == 0


def test_the_stream_is_left_where_the_service_waits_for_an_event_that_was_given_up() -> None:
    driver = Driver()
    driver.add("1")
    driver.sent()
    driver.ack(1, refusal())
    driver.now += SETTINGS.delivery_seconds
    driver.outbox.expire(driver.now)
    assert driver.outbox.reconnect_wanted
    driver.add("2")
    assert driver.sent() == []
    driver.outbox.disconnected()
    driver.outbox.opened(OPENED)
    assert not driver.outbox.reconnect_wanted
    assert driver.sent() == ["2"]


def test_draining_sends_nothing_new_and_ends_when_all_is_answered() -> None:
    driver = Driver()
    driver.add("1")
    driver.sent()
    driver.outbox.drain()
    driver.add("2")
    assert driver.sent() == []
    assert not driver.outbox.drained
    driver.ack(1, stored())
    assert driver.outbox.drained


def test_an_answer_to_nothing_is_a_protocol_error() -> None:
    driver = Driver()
    with pytest.raises(ProtocolError, match="number 1"):
        driver.ack(1, stored())


def test_of_an_answer_that_cannot_be_true_nothing_is_believed() -> None:
    driver = Driver()
    driver.add("1")
    driver.add("2")
    driver.sent()
    on_wire = driver.outbox.in_flight_bytes
    with pytest.raises(ProtocolError, match="number 3"):
        driver.ack(1, offsets=[1, 2, 3])
    assert driver.outcomes() == {}
    assert (driver.outbox.in_flight_events, driver.outbox.in_flight_bytes) == (2, on_wire)
    driver.outbox.disconnected()
    driver.outbox.opened(OPENED)
    assert driver.sent() == ["1", "2"]


def test_the_buffer_is_bounded_in_events_and_bytes_but_takes_any_single_event() -> None:
    driver = Driver(replace(SETTINGS, max_events=2, max_bytes=500), opened=None)
    assert driver.outbox.has_room(10_000)
    driver.add("1")
    assert driver.outbox.has_room(100)
    assert not driver.outbox.has_room(500)
    assert not driver.outbox.has_room(1, more_events=1)
    driver.add("2")
    assert not driver.outbox.has_room(1)
    assert driver.outbox.has_queued


def test_abandoning_fails_everything_left() -> None:
    driver = Driver()
    driver.add("1")
    driver.sent()
    driver.add("2")
    ids = driver.outbox.abandon(lambda event_id, _: PublisherClosedError("closed", event_id=event_id))
    assert ids == ["1", "2"]
    assert driver.outcomes() == dict.fromkeys(ids, "PUBLISHER_CLOSED")
    assert driver.sent() == []


def test_flush_knows_what_is_unanswered_up_to_an_event() -> None:
    driver = Driver()
    driver.add("1")
    through = driver.outbox.last_order
    driver.add("2")
    assert driver.outbox.unanswered(through) == ["1"]
    driver.sent()
    driver.ack(1, stored())
    assert driver.outbox.is_answered(through)
    assert not driver.outbox.is_answered(driver.outbox.last_order)


def test_an_event_wakes_the_writer_where_it_may_change_what_is_sent_next() -> None:
    driver = Driver(opened=PublishOpened(credit_bytes=1 << 20, max_events=16))
    driver.add("first", lane=Priority.LOW)
    driver.sent()
    wakes = [driver.add(name, lane=Priority.LOW) for name in "12345"]
    assert wakes == [True, False, False, True, False]  # the first one's linger; then a message's worth
    assert driver.add("express")
    assert not driver.add("another")
    assert driver.sent() == ["express", "another", *"12345"]


def test_idle_chains_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lanecast.publisher.core.outbox._MAX_IDLE_CHAINS", 4)
    driver = Driver()
    driver.add("busy", channel="busy")
    busy = driver.outbox.chain("busy", Priority.CRITICAL)
    for number in range(10):
        driver.outbox.chain(f"idle{number}", Priority.LOW)
    assert driver.outbox.chain("busy", Priority.CRITICAL) is busy


class Service:
    """What the service may do to a publisher: answer late, out of order between lanes, refuse, fence, vanish."""

    def __init__(self, random_: random.Random, credit: int) -> None:
        self.random = random_
        self.credit = credit
        self.log: list[Event] = []
        self.ids: set[str] = set()
        self.begin()

    def begin(self) -> None:
        self.unanswered: dict[int, tuple[PublishResult, int]] = {}
        self.fences: dict[tuple[str, int], str] = {}

    def receive(self, message: PublishMessage) -> None:
        for sequence, event in enumerate(message.events, message.first_sequence):
            assert sequence not in self.unanswered
            self.unanswered[sequence] = self.judge(event), event.ByteSize()
        assert sum(size for _, size in self.unanswered.values()) <= self.credit

    def judge(self, event: Event) -> PublishResult:
        key = event.channel, event.priority
        fence = self.fences.get(key)
        if fence is not None and fence != event.id:
            return refusal(10, 1, "OUT_OF_ORDER")
        if event.id not in self.ids and self.random.random() < 0.15:
            self.fences[key] = event.id
            return refusal(8, 5)
        self.fences.pop(key, None)
        if event.id in self.ids:
            return stored(duplicate=True)
        if int(event.id) % 9 == 4:  # what is wrong with an event stays wrong
            return refusal(3, 0, "TYPE_UNKNOWN")
        self.ids.add(event.id)
        self.log.append(event)
        return stored(len(self.log))

    def answer(self, driver: Driver) -> None:
        if not self.unanswered:
            return
        start = self.random.choice(sorted(self.unanswered))
        results, sequence = [], start
        while sequence in self.unanswered and (not results or self.random.random() < 0.8):
            results.append(self.unanswered.pop(sequence)[0])
            sequence += 1
        plain = 0
        if self.random.random() < 0.5:
            while plain < len(results) and results[plain] == PublishResult(offset=results[plain].offset):
                plain += 1
        driver.ack(start, *results[plain:], offsets=[result.offset for result in results[:plain]])


@settings(max_examples=effort(300))
@given(
    seed=st.integers(0, 2**32), credit=st.sampled_from([400, 1_500, 1 << 20]), max_events=st.sampled_from([1, 3, 1000])
)
def test_whatever_happens_each_event_has_one_outcome_and_is_stored_once_in_order(
    seed: int, credit: int, max_events: int
) -> None:
    chance = random.Random(seed)
    driver, service = Driver(opened=None), Service(chance, credit)
    handed: list[tuple[str, str, Priority]] = []
    outcomes: dict[str, str] = {}
    connected = False
    opened = PublishOpened(credit_bytes=credit, max_events=max_events, dedup_window_seconds=120)

    def step(action: float) -> None:
        nonlocal connected
        if action < 0.35 and len(handed) < 60:
            event_id, channel, lane = str(len(handed)), chance.choice("ab"), chance.choice(LANES)
            handed.append((event_id, channel, lane))
            driver.add(event_id, channel, lane, "x" * chance.randrange(80))
        elif action < 0.4:
            driver.outbox.disconnected()
            service.begin()
            connected = False
        elif not connected:
            driver.outbox.opened(opened)
            connected = True
        elif action < 0.7:
            message = driver.message()
            if message is not None:
                assert 0 < len(message.events) <= max_events
                service.receive(message)
        else:
            service.answer(driver)
        driver.now += chance.random() / 100
        for event_id, outcome in driver.outcomes().items():
            assert event_id not in outcomes
            outcomes[event_id] = outcome

    for _ in range(250):
        step(chance.random())
    for _ in range(5_000):
        if len(outcomes) == len(handed) and not driver.outbox.in_flight_events:
            break
        step(0.5 + chance.random() / 2)

    assert len(outcomes) == len(handed)
    assert set(outcomes.values()) <= {"ok", "TYPE_UNKNOWN"}
    assert [event.id for event in service.log if outcomes[event.id] != "ok"] == []
    assert {event.id for event in service.log} == {event_id for event_id, fate in outcomes.items() if fate == "ok"}
    for channel in "ab":
        for lane in LANES:
            in_log = [int(event.id) for event in service.log if (event.channel, event.priority) == (channel, lane)]
            assert in_log == sorted(in_log)
    assert (driver.outbox.buffered_events, driver.outbox.buffered_bytes, driver.outbox.in_flight_bytes) == (0, 0, 0)
