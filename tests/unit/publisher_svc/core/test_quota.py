"""What an identity may publish: the token bucket, the grants, the table."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import Event
from publisher_svc.core.admission import FULL_AT, ProducerOrder, Refusal
from publisher_svc.core.quota import BucketTable, Permit, TokenBucket, TooManyIdentitiesError

ALL = frozenset(LANES)
rates = st.floats(min_value=0.001, max_value=1e6)
bursts = st.integers(min_value=1, max_value=1_000)
pauses = st.floats(min_value=0, max_value=100)
lanes = st.sampled_from(LANES)
SLACK = 1e-6
"""Share by which sums of floating-point numbers may be off."""


def event(lane: Priority = Priority.HIGH, channel: str = "agent:42", event_id: str = "") -> Event:
    return Event(channel=channel, priority=lane.wire_value, id=event_id)


def accept(_event: Event, _order: ProducerOrder) -> Refusal | None:
    return None


def screened(permit: Permit, events: list[Event], now: float = 0.0) -> list[Refusal | None]:
    refuse = permit.screen(events, now).around(accept)
    return [refuse(made, ProducerOrder()) for made in events]


# The bucket


@given(rates, bursts, st.lists(st.tuples(pauses, lanes, st.integers(1, 200)), max_size=30))
def test_in_any_span_no_more_than_the_rate_and_the_burst(
    rate: float, burst: int, messages: list[tuple[float, Priority, int]]
) -> None:
    now = 1_000.0
    bucket = TokenBucket(rate, burst, now)
    history: list[tuple[float, int]] = []
    for pause, lane, count in messages:
        now += pause
        bucket.refill(now)
        history.append((now, sum(bucket.take(lane) for _ in range(count))))
    for first in range(len(history)):
        for last in range(first, len(history)):
            span = history[last][0] - history[first][0]
            admitted = sum(count for _, count in history[first : last + 1])
            assert admitted <= (rate * span + burst) * (1 + SLACK)


@given(rates, bursts, lanes, st.integers(1, 2_000), st.integers(1, 1_000))
def test_after_the_delay_what_was_asked_for_fits_and_not_before(
    rate: float, burst: int, lane: Priority, spent: int, count: int
) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    for _ in range(spent):
        bucket.take(Priority.CRITICAL)
    delay = bucket.delay(lane, count)
    if delay > 0:
        bucket.refill(delay * (1 - 1e-3))
        assert bucket.delay(lane, count) > 0
    bucket.refill(delay * (1 + SLACK) + 1e-9)
    taken = 0
    while taken < count and bucket.take(lane):
        taken += 1
    reserve = math.ceil(min((1 - FULL_AT[lane]) * burst, burst - 1))
    assert taken >= min(count, burst - reserve)


@given(rates, bursts, lanes)
def test_every_lane_alone_gets_the_whole_rate(rate: float, burst: int, lane: Priority) -> None:
    bucket, now = TokenBucket(rate, burst, 0.0), 0.0
    while bucket.take(lane):
        pass
    for _ in range(50):
        now += 1 / rate * (1 + SLACK)
        bucket.refill(now)
        assert bucket.take(lane)


def test_low_is_refused_first_and_critical_last() -> None:
    bucket = TokenBucket(1.0, 100, 0.0)
    admitted = []
    for lane in reversed(LANES):
        count = 0
        while bucket.take(lane):
            count += 1
        admitted.append(count)
    assert admitted == [70, 15, 10, 5]


def test_a_burst_of_one_lets_every_lane_through() -> None:
    for lane in LANES:
        assert TokenBucket(1.0, 1, 0.0).take(lane)


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(10.0, 1, 100.0)
    assert bucket.take(Priority.CRITICAL)
    for now in (100.0, 0.0, 100.05):
        bucket.refill(now)
        assert not bucket.take(Priority.CRITICAL)
    bucket.refill(100.1)
    assert bucket.take(Priority.CRITICAL)
    full = TokenBucket(10.0, 1, 100.0)
    full.refill(0.0)
    assert full.take(Priority.CRITICAL), "nor does it take anything away"


def test_changing_the_rate_to_and_fro_gains_nothing() -> None:
    bucket = TokenBucket(1.0, 10, 0.0)
    for _ in range(10):
        assert bucket.take(Priority.CRITICAL)
    bucket.change(1.0, 1_000, 0.0)
    assert not bucket.take(Priority.CRITICAL)
    bucket.change(1.0, 10, 0.0)
    assert not bucket.take(Priority.CRITICAL)
    bucket.change(100.0, 10, 1.0)
    assert (bucket.rate, bucket.take(Priority.CRITICAL), bucket.take(Priority.CRITICAL)) == (100.0, True, False)


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (1.0, 0)])
def test_a_bucket_that_would_never_admit_is_not_made(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(rate, burst, 0.0)


# One message


def test_a_message_takes_what_it_can_and_learns_when_the_rest_fits() -> None:
    permit = Permit("publisher 'bot'", lambda _: ALL, TokenBucket(1_000.0, 10, 0.0))
    results = screened(permit, [event(Priority.CRITICAL)] * 14)
    assert results[:10] == [None] * 10
    refusal = results[10]
    assert refusal is not None
    assert (refusal.code, refusal.reason, refusal.retry_delay_millis) == (8, "RATE_LIMITED", 4)
    assert results[11:] == [refusal] * 3
    assert "publisher 'bot' is over its rate of 1000 events/s" in refusal.message
    assert screened(permit, [event(Priority.CRITICAL)] * 4, now=0.004) == [None] * 4


def test_one_lane_at_its_limit_does_not_stop_a_more_urgent_one() -> None:
    permit = Permit("bot", lambda _: ALL, TokenBucket(1.0, 10, 0.0))
    made = [event(Priority.LOW)] * 9 + [event(Priority.CRITICAL)] * 3
    assert [refusal is None for refusal in screened(permit, made)] == [True] * 7 + [False] * 2 + [True] * 3


@pytest.mark.parametrize(("lane", "now", "millis"), [(Priority.CRITICAL, 0.0, 250), (Priority.LOW, 3.0, 1_000)])
def test_a_long_message_comes_again_in_parts(lane: Priority, now: float, millis: int) -> None:
    permit = Permit("bot", lambda _: ALL, TokenBucket(100.0, 1_000, 0.0))
    screened(permit, [event(Priority.CRITICAL)] * 1_000)
    refusal = screened(permit, [event(lane)] * 1_000, now)[-1]  # at 3.0 the reserve before LOW is there again
    assert refusal is not None
    assert refusal.retry_delay_millis == millis


def test_a_rate_below_one_a_second_waits_as_long_as_it_takes() -> None:
    permit = Permit("bot", lambda _: ALL, TokenBucket(0.1, 1, 0.0))
    [_, refusal] = screened(permit, [event(), event()])
    assert refusal is not None
    assert refusal.retry_delay_millis == 10_000


def test_what_is_refused_for_another_reason_is_not_counted() -> None:
    permit = Permit("bot", lambda channel: ALL if channel == "a" else frozenset(), TokenBucket(1.0, 1, 0.0))
    bad = Refusal(3, "TYPE_UNKNOWN", "")
    events = [event(channel="a"), event(channel="b"), event(channel="a")]
    refuse = permit.screen(events, 0.0).around(lambda made, _: bad if made is events[0] else None)
    reasons = [refusal and refusal.reason for refusal in (refuse(made, ProducerOrder()) for made in events)]
    assert reasons == ["TYPE_UNKNOWN", "CHANNEL_FORBIDDEN", None]


# Grants


def test_channels_and_lanes_are_denied_unless_granted() -> None:
    def lanes_for(channel: str) -> frozenset[Priority]:
        return frozenset({Priority.NORMAL, Priority.LOW}) if channel.startswith("agent:") else frozenset()

    permit = Permit("bot", lanes_for)
    made = [event(Priority.NORMAL), event(Priority.HIGH), event(Priority.LOW, "bots"), event(Priority.LOW)]
    refusals = screened(permit, made)
    reasons = [None if refusal is None else (refusal.code, refusal.reason) for refusal in refusals]
    assert reasons == [None, (7, "LANE_FORBIDDEN"), (7, "CHANNEL_FORBIDDEN"), None]
    assert refusals[1] is not None
    assert "not publish in lane HIGH, only in NORMAL, LOW" in refusals[1].message
    assert {refusal.retry_delay_millis for refusal in refusals if refusal} == {0}, "a retry would not help"


def test_an_unknown_lane_is_left_to_the_check_that_names_it() -> None:
    permit = Permit("bot", lambda _: frozenset({Priority.LOW}))
    unknown = Refusal(3, "LANE_UNKNOWN", "")
    made = Event(channel="a")
    assert permit.screen([made], 0.0).around(lambda *_: unknown)(made, ProducerOrder()) is unknown


def test_channels_are_looked_up_once_and_not_remembered_without_bound() -> None:
    asked: list[str] = []

    def lanes_for(channel: str) -> frozenset[Priority]:
        asked.append(channel)
        return ALL

    permit = Permit("bot", lanes_for)
    screened(permit, [event()] * 5)
    assert asked == ["agent:42"]
    screened(permit, [event(channel="x" * 300)] * 2)
    assert len(asked) == 3, "a name that is no channel is not kept"
    screened(permit, [event(channel=str(number)) for number in range(4_096)])
    screened(permit, [event()])
    assert asked.count("agent:42") == 2, "old ones make room"


# The table


class Table(RuleBasedStateMachine):
    """Whatever streams come and go, an identity gets no more than its rate and burst, and the table stays small."""

    RATE, BURST, MOST = 2.0, 5, 3

    def __init__(self) -> None:
        super().__init__()
        self.table = BucketTable(self.MOST)
        self.now = 0.0
        self.streams: list[tuple[str, TokenBucket]] = []
        self.admitted: dict[str, int] = {}

    @rule(name=st.sampled_from("abcdef"))
    def open(self, name: str) -> None:
        try:
            bucket = self.table.acquire(name, self.RATE, self.BURST, self.now)
        except TooManyIdentitiesError:
            assert len(self.table) == self.MOST
            return
        assert all(other is bucket for known, other in self.streams if known == name)
        self.streams.append((name, bucket))
        self.admitted.setdefault(name, 0)

    @precondition(lambda self: self.streams)
    @rule(number=st.integers(0, 100), lane=lanes, count=st.integers(1, 10))
    def publish(self, number: int, lane: Priority, count: int) -> None:
        name, bucket = self.streams[number % len(self.streams)]
        bucket.refill(self.now)
        self.admitted[name] += sum(bucket.take(lane) for _ in range(count))

    @precondition(lambda self: self.streams)
    @rule(number=st.integers(0, 100))
    def close(self, number: int) -> None:
        name, _ = self.streams.pop(number % len(self.streams))
        self.table.release(name)

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def holds(self) -> None:
        assert len(self.table) <= self.MOST
        for count in self.admitted.values():
            assert count <= self.RATE * self.now + self.BURST + SLACK


TestTable = Table.TestCase


def test_an_identity_that_is_gone_and_rested_makes_room() -> None:
    table = BucketTable(1)
    bucket = table.acquire("a", 1.0, 2, 0.0)
    assert bucket.take(Priority.CRITICAL)
    with pytest.raises(TooManyIdentitiesError):
        table.acquire("b", 1.0, 2, 5.0)  # it has a stream
    table.release("a")
    assert table.acquire("b", 1.0, 2, 6.0) is not bucket
    table.release("b")
    assert len(table) == 1


def test_an_identity_that_is_gone_but_has_spent_is_remembered() -> None:
    table = BucketTable(1)
    bucket = table.acquire("a", 0.1, 2, 0.0)
    assert bucket.take(Priority.CRITICAL)
    table.release("a")
    with pytest.raises(TooManyIdentitiesError):
        table.acquire("b", 0.1, 2, 5.0)
    assert table.acquire("a", 0.1, 2, 5.0) is bucket


def test_the_rate_given_last_holds_for_all_streams() -> None:
    table = BucketTable()
    first = table.acquire("a", 1.0, 2, 0.0)
    assert table.acquire("a", 7.0, 9, 0.0) is first
    assert (first.rate, first.burst) == (7.0, 9)
