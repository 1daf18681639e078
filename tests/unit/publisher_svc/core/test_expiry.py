"""What has expired is not sent, and a gap in its place names exactly that."""

from __future__ import annotations

from collections.abc import Sequence

from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from lanecast.core import wire
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import GAP_REASON_EXPIRED, Event
from lanecast.v1.publisher_pb2 import StreamEventsResponse
from publisher_svc.core.downstream import Downstream
from publisher_svc.core.expiry import Expiry, expire, groups_left, marked, sift
from publisher_svc.core.group import Group, Missing, Timed, groups_of

LOW = Priority.LOW
HEAD = wire.batch_head("c", LOW, "epoch", "default")
WALL = 10**18
MILLI = 1_000_000


class World:
    """A log of one channel and lane, a stream that reads it, and a reader that checks what comes."""

    def __init__(self, *, queue: int = 1 << 20, credit: int = 1 << 20) -> None:
        self.time = 1_000
        self.dropped = 0
        self.expiry = Expiry(lambda: self.time * MILLI, lambda: WALL + self.time * MILLI, self._drop)
        self.stream = Downstream(
            LANES, {LOW: credit}, max_message_events=4, max_message_bytes=1 << 15, max_queue_bytes=queue,
            expiry=self.expiry,
        )  # fmt: skip
        self.log: list[tuple[int, bytes]] = []
        self.ends: dict[int, int] = {}
        """When each event expires, in milliseconds."""
        self.cursor = 0
        self.got: list[int] = []
        self.lost: list[int] = []
        self.stream.add("c", LOW, 0, live=True)

    def _drop(self, lane: Priority, events: int) -> None:
        assert lane is LOW
        self.dropped += events

    def publish(self, ttls: Sequence[int]) -> None:
        positions: list[tuple[int, int, int]] = []
        for ttl in ttls:
            previous = self.log[-1][0] if self.log else 0
            offset = previous + 2
            made = Event(ttl_millis=ttl).SerializeToString()
            self.log.append((offset, made + wire.event_position(offset, previous, WALL + self.time * MILLI)))
            self.ends[offset] = self.time + ttl if ttl else 0
            positions.append((offset, previous, self.ends[offset] * MILLI))
        for group in marked(groups_of("c", LOW, HEAD, self.log[-len(ttls) :]), positions):
            self.stream.offer(group, self.time)

    def take(self) -> bool:
        data = self.stream.take(self.time * MILLI)
        if data is None:
            return False
        response = StreamEventsResponse.FromString(data)
        assert len(response.batches) <= 1
        for gap in response.gaps:
            assert (gap.channel, gap.lane, gap.epoch, gap.reason) == ("c", LOW, "epoch", GAP_REASON_EXPIRED)
            assert gap.from_offset == self.cursor < gap.to_offset
            missing = [offset for offset, _ in self.log if self.cursor < offset <= gap.to_offset]
            assert gap.count == len(missing) > 0
            self.lost += missing
            self.cursor = gap.to_offset
        for batch in response.batches:
            for event in batch.events:
                assert event.prev_offset <= self.cursor < event.offset
                assert not 0 < self.ends[event.offset] <= self.time, "sent although expired"
                self.cursor = event.offset
                self.got.append(event.offset)
        return True

    def read(self, limit: int) -> bool:
        for channel, lane, cursor in self.stream.behind():
            page = [each for each in self.log if each[0] > cursor][:limit]
            at = cursor
            for group in groups_left(channel, lane, HEAD, page, cursor, self.expiry, replayed=False):
                self.stream.feed(group, self.time, after=at)
                at = group.last_offset
            if not page or page[-1] == self.log[-1]:
                self.stream.go_live(channel, lane)
            return True
        return False

    def finish(self) -> None:
        self.stream.grant(LOW, 1 << 20)
        for _ in range(500):
            self.time += 11
            if not self.take() and not self.read(4):
                break
        assert sorted(self.got + self.lost) == [offset for offset, _ in self.log]
        assert self.got == sorted(self.got)
        assert all(self.ends[offset] for offset in self.lost)
        assert self.stream.queued_events == 0


steps = st.one_of(
    st.tuples(st.just("publish"), st.lists(st.sampled_from([0, 0, 20, 60]), min_size=1, max_size=5)),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("read"), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.sampled_from([5, 25, 70])),
    st.tuples(st.just("grant"), st.integers(1, 300)),
)  # fmt: skip


@settings(max_examples=effort(500), deadline=None)
@given(st.lists(steps, max_size=50), st.sampled_from([150, 1 << 20]), st.sampled_from([40, 1 << 20]))
def test_each_event_is_sent_or_named_in_its_place(plan: list[tuple[str, object]], queue: int, credit: int) -> None:
    world = World(queue=queue, credit=credit)
    for name, argument in plan:
        if name == "wait":
            world.time += argument  # type: ignore[operator]
        elif name == "take":
            world.take()
        elif name == "grant":
            world.stream.grant(LOW, argument)  # type: ignore[arg-type]
        else:
            getattr(world, name)(argument)
    world.finish()


def test_what_expires_in_the_queue_of_a_stream_without_credit_is_named() -> None:
    world = World(credit=1)
    world.publish([0])
    assert world.take()
    world.publish([20, 60, 20, 0])
    assert not world.take()
    world.time += 30
    world.stream.grant(LOW, 1 << 20)
    assert world.take()
    assert (world.got, world.lost) == ([2, 6], [4])
    world.time += 30
    assert world.take()
    assert (world.got, world.lost, world.dropped) == ([2, 6, 10], [4, 8], 2)


def test_a_queue_of_nothing_but_expired_events_is_one_gap() -> None:
    world = World(credit=1)
    world.publish([0])
    world.take()
    for _ in range(10):
        world.publish([20])
    world.time += 30
    world.stream.grant(LOW, 1 << 20)
    world.finish()
    assert (world.got, len(world.lost), world.dropped) == ([2], 10, 10)


def test_groups_that_streams_share_are_not_changed() -> None:
    shared = next(
        marked(groups_of("c", LOW, HEAD, [(2, b"a"), (4, b"b"), (6, b"c")]), [(2, 0, 0), (4, 2, 5), (6, 4, 9)])
    )
    queued = [shared]
    assert expire(queued, 0, 5, 10) == (1, 1)
    assert [(each.events, each.last_offset, each.missing, each.timed) for each in queued] == [
        ([b"a"], 2, None, ()),
        ([b"c"], 6, Missing(2, 4, 1), (Timed(0, 6, 4, 9),)),
    ]
    assert (shared.events, shared.missing, len(shared.timed)) == ([b"a", b"b", b"c"], None, 2)


def test_no_more_of_a_long_queue_is_looked_at_than_is_taken() -> None:
    queued = [
        Group("c", LOW, HEAD, [b"x"], offset, 1, timed=(Timed(0, offset, offset - 1, 1),)) for offset in range(1, 9)
    ]
    queued[0].timed = queued[1].timed = ()
    assert expire(queued, 0, 5, 2) == (0, 0)
    assert len(queued) == 8


def test_a_page_is_judged_by_the_wall_clock() -> None:
    page = [
        (offset, Event(ttl_millis=ttl).SerializeToString() + wire.event_position(offset, offset - 1, WALL))
        for offset, ttl in ((4, 10), (5, 10), (6, 0), (7, 30), (8, 20))
    ]
    runs = sift(page, 3, WALL + 20 * MILLI)
    assert [(run.missing, [offset for offset, _ in run.events]) for run in runs] == [
        (Missing(3, 5, 2), [6, 7]),
        (Missing(7, 8, 1), []),
    ]
    assert runs[0].positions(3, -WALL) == [(6, 5, 0), (7, 6, 30 * MILLI)]
    assert sift([], 3, WALL) == []


def test_a_gap_never_begins_before_the_reader() -> None:
    queued = [Group("c", LOW, HEAD, [b"x"], 9, 1, timed=(Timed(0, 9, 2, 1),))]
    assert expire(queued, 7, 5, 2) == (1, 1)
    assert [(each.events, each.missing, each.last_offset) for each in queued] == [([], Missing(7, 9, 1), 9)]


def test_a_long_page_names_its_losses_once() -> None:
    world = World()
    world.publish([20, *[0] * 100])
    world.time += 30
    groups = list(groups_left("c", LOW, HEAD, world.log, 0, world.expiry, replayed=False))
    assert [(each.missing, len(each.events)) for each in groups] == [(Missing(0, 2, 1), 64), (None, 36)]
