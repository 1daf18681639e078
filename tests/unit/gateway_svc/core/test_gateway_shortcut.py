"""The short way ends where the usual way does: the same frames, cursors, queues and figures."""

from __future__ import annotations

import asyncio

import pytest
from gateway_fakes import EPOCH, FakeSink, World, drain, item, stored
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_svc import dispatch
from gateway_svc.core.items import GapItem
from gateway_svc.core.meter import Meter
from gateway_svc.core.session import Session
from gateway_svc.core.shortcut import Outcome
from gateway_svc.core.subscription import Wanted
from gateway_svc.core.tracing import Tracing
from gateway_svc.core.types import TypeBook
from gateway_svc.dispatch import Dispatcher
from lanecast.core.clock import Reading
from lanecast.core.instruments import Instruments
from lanecast.core.priority import LANES, Priority
from lanecast.core.spans import NotedSpan
from lanecast.v1.event_pb2 import GAP_REASON_TRUNCATED, EventBatch
from lanecast.v1.publisher_pb2 import START_LATEST

HIGH = Priority.HIGH


class Gateway:
    """A world with a dispatcher; `short` says whether batches may be recognised."""

    def __init__(self, *, short: bool, binary: bool = True) -> None:
        self.short = short
        self.world = World()
        self.instruments = Instruments()
        self.meter = Meter(self.instruments, TypeBook(), self.world.totals)
        self.dispatcher = Dispatcher(self.world.hub, self.meter, TypeBook())
        self.used: dict[Priority, int] = {}
        self.clients: list[tuple[Session, FakeSink]] = []
        self.join(binary=binary)
        self.world.position("c", 1)

    def join(self, *, binary: bool = True) -> None:
        session, sink = self.world.session(hello=False, binary=binary)
        self.clients.append((session, sink))
        self.world.hub.subscribe(session, "c", LANES, Wanted(START_LATEST, 0, {}))

    def express(self, *batches: bytes) -> None:
        for raw in batches:
            if not self.short:
                self.world.hub.routes.clear()
            self.dispatcher.express([raw], 10_000, self._used)

    def bulk(self, *batches: bytes) -> None:
        for raw in batches:
            if not self.short:
                self.world.hub.routes.clear()
            asyncio.run(self.dispatcher.bulk([raw], 10_000, self._used))

    def _used(self, lane: Priority, size: int) -> None:
        self.used[lane] = self.used.get(lane, 0) + size

    def offsets(self, number: int = 0) -> list[int]:
        return [each.offset for frame in self.clients[number][1].frames() for each in frame.events.events]

    def state(self) -> object:
        """Return everything that may not depend on the way, but for times."""
        feeds = self.world.hub.channels["c"].feeds
        return (
            [(feed.epoch, feed.tail, feed.floor, len(feed.ring), feed.replaying) for feed in feeds.values()],
            [
                [(reader.state, reader.cursor, reader.seen) for reader in session.subscriptions["c"].readers]
                for session, _ in self.clients
            ],
            [(session.closed, session.outbox.clear, session.outbox.waiting_bytes) for session, _ in self.clients],
            [[_untimed(each.events) or each for each in sink.frames()] for _, sink in self.clients],
            len(self.world.publisher.requests),
            self.used,
            self.figures(),
        )

    def figures(self) -> dict[object, int]:
        self.instruments.tally()
        counted = {key: sketch.count + sketch.skewed for key, sketch in self.instruments._sketches.items()}
        return counted | {key: counter.value for key, counter in self.instruments._counters.items()}


def _untimed(batch: EventBatch) -> EventBatch | None:
    if not batch.events:
        return None
    batch.edge_receive_time_unix_nano = batch.edge_send_time_unix_nano = 0
    return batch


def taken(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """Note what became of each event that was offered the short way."""
    outcomes: list[Outcome] = []
    usual = dispatch.deliver

    def deliver(*args: object) -> Outcome:
        outcomes.append(usual(*args))  # type: ignore[arg-type]
        return outcomes[-1]

    monkeypatch.setattr(dispatch, "deliver", deliver)
    return outcomes


def test_the_second_event_of_a_lane_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = taken(monkeypatch)
    gateway = Gateway(short=True)
    gateway.express(stored(5, 0), stored(7, 5), stored(9, 7))
    assert gateway.offsets() == [5, 7, 9]
    assert outcomes == [Outcome.SENT]  # the first has no event before it, and the second shows what they look like
    gateway.bulk(stored(11, 1, lane=Priority.LOW), stored(12, 11, lane=Priority.LOW))
    assert gateway.offsets() == [11, 12]
    assert outcomes == [Outcome.SENT] * 2


def test_the_frame_is_that_of_the_usual_way() -> None:
    gateway = Gateway(short=True)
    gateway.express(stored(5, 1), stored(7, 5))
    _, *frames = gateway.clients[0][1].frames()
    assert [frame.events.edge_receive_time_unix_nano for frame in frames] == [10_000] * 2
    assert all(frame.events.edge_send_time_unix_nano > 10_000 for frame in frames)
    assert [_untimed(frame.events) for frame in frames] == [
        EventBatch.FromString(stored(5, 1)), EventBatch.FromString(stored(7, 5)),
    ]  # fmt: skip


def test_what_the_kernel_does_not_take_is_held_and_counts_as_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = taken(monkeypatch)
    gateway = Gateway(short=True)
    session, sink = gateway.clients[0]
    gateway.express(stored(5, 1))
    sink.full = True
    gateway.express(stored(7, 5), stored(9, 7))
    assert outcomes == [Outcome.HELD, Outcome.LEFT]
    sink.held = False
    entries = session.outbox.resume()
    assert [entry.item.last for entry in entries] == [7]
    gateway.meter.flushed(entries, 0)
    assert gateway.meter._lanes[HIGH].delivered.value == 2
    drain(session, sink)
    assert gateway.offsets() == [5, 7, 9]


@pytest.mark.parametrize("case", ["duplicate", "hole", "two readers", "JSON", "replaying", "nobody"])
def test_all_else_is_left_to_the_usual_way(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = taken(monkeypatch)
    gateway = Gateway(short=True, binary=case != "JSON")
    gateway.express(stored(5, 1))
    if case == "two readers":
        gateway.join()
    elif case == "replaying":
        gateway.world.hub.channels["c"].feeds[HIGH].replay_began()
    elif case == "nobody":
        gateway.world.hub.leave(gateway.clients[0][0])
    gateway.express(stored(9, 7) if case == "hole" else stored(5, 1) if case == "duplicate" else stored(7, 5))
    assert set(outcomes) <= {Outcome.LEFT}
    if case == "hole":
        assert len(gateway.world.publisher.requests) == 1


def test_a_route_goes_with_its_channel_and_changes_with_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = taken(monkeypatch)
    gateway = Gateway(short=True)
    hub = gateway.world.hub
    gateway.express(stored(5, 1), stored(6, 5, policy="other"), stored(7, 6, policy="other"))
    assert outcomes == [Outcome.SENT]
    assert [route.policy for route in hub.routes.values()] == ["other"]
    gateway.bulk(stored(8, 1, lane=Priority.LOW))
    assert len(hub.routes) == 2
    hub.leave(gateway.clients[0][0])
    hub.tick(0.0)
    hub.tick(100.0)
    assert (hub.channels, hub.routes) == ({}, {})
    gateway.express(stored(9, 7))
    gateway.join()
    gateway.world.position("c", 9)
    hub.refused("c", "")
    assert (hub.channels, hub.routes) == ({}, {})


def test_a_gap_between_moves_the_reader_for_the_short_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = taken(monkeypatch)
    gateway = Gateway(short=True)
    gateway.express(stored(5, 1))
    gateway.world.live(GapItem("c", HIGH, EPOCH, 5, 8, GAP_REASON_TRUNCATED, 3))
    gateway.express(stored(9, 8))
    assert outcomes == [Outcome.SENT]
    assert not gateway.world.publisher.requests


def test_long_names_take_the_usual_way() -> None:
    gateway = Gateway(short=True)
    name = "n" * 128
    gateway.world.hub.subscribe(gateway.clients[0][0], name, LANES, Wanted(START_LATEST, 0, {}))
    gateway.world.position(name, 1)
    gateway.express(stored(5, 1, name), stored(6, 5, name), stored(7, 6, name))
    assert gateway.offsets() == [5, 6, 7]
    assert not gateway.world.hub.routes


STEPS = st.lists(
    st.tuples(
        st.sampled_from(LANES),
        st.sampled_from(["next", "next", "next", "again", "hole", "full", "drain", "join", "leave", "pages"]),
        st.sampled_from(["default", "other"]),
        st.sampled_from([0, 0, 3]),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_both_ways_end_in_the_same_place(steps: list[tuple[Priority, str, str, int]]) -> None:
    one, other = Gateway(short=True), Gateway(short=False)
    offset, heads = 10, dict.fromkeys(LANES, (0, 1))
    for lane, step, policy, generation in steps:
        offset += 2
        place = (offset - 1 if step == "hole" else heads[lane][1], offset)
        if step == "again":
            place = heads[lane]
        heads[lane] = place
        for gateway in (one, other):
            session, sink = gateway.clients[0]
            if step == "full":
                sink.full = True
            elif step == "drain":
                drain(session, sink)
            elif step == "join" and len(gateway.clients) < 3:
                gateway.join()
            elif step == "leave" and len(gateway.clients) > 1:
                left, _ = gateway.clients.pop()
                left.leave()
            made = stored(place[1], place[0], "c", lane, policy=policy, generation=generation)
            (gateway.bulk if lane > HIGH else gateway.express)(made)
    assert one.state() == other.state()


class Spans:
    def __init__(self) -> None:
        self.noted: list[NotedSpan] = []

    def add(self, span: NotedSpan) -> None:
        self.noted.append(span)


@pytest.mark.parametrize("clock", [None, Reading(-1_000, 20), Reading(0, 10**9)])
@pytest.mark.parametrize("trace", [b"", b"t" * 24 + b"\x01", b"t" * 24 + b"\x00"])
def test_figures_and_spans_are_those_of_the_usual_way(clock: Reading | None, trace: bytes) -> None:
    found = []
    for short in (True, False):
        gateway, spans = Gateway(short=short), Spans()
        gateway.meter.clock = clock
        gateway.meter.tracing = Tracing(spans)
        gateway.express(*(stored(at + 1, at, generation=2, trace_context=trace, ttl_millis=300) for at in range(1, 9)))
        gateway.express(stored(10, 9, conflation_key="k"), stored(11, 10, create_time_unix_nano=0))
        found.append((gateway.figures(), [(span.name, span.late, span.parent) for span in spans.noted]))
        assert gateway.meter._lanes[HIGH].delivered.value == 10
    assert found[0] == found[1]


def test_hops_are_exact_on_the_short_way() -> None:
    gateway = Gateway(short=True)
    gateway.express(*(stored(at + 1, at) for at in range(1, 4)))
    lane = gateway.meter._lanes[HIGH]
    gateway.figures()
    hops = (lane.sdk_queue, lane.ingest, lane.log, lane.lane_wait, lane.transit)
    assert [hop.sum_ns for hop in hops] == [3 * each for each in (500, 1_000, 1_000, 1_000, 6_000)]
    assert lane.server.sum_ns == 0
    assert sum(sketch.count for sketch in lane.by_type.values()) == 3


def test_reserved_channels_are_in_nobodys_figures() -> None:
    gateway = Gateway(short=True)
    name = "$lanecast:probe"
    session = gateway.clients[0][0]
    gateway.world.hub.subscribe(session, name, LANES, Wanted(START_LATEST, 0, {}))
    gateway.world.position(name, 1)
    gateway.express(*(stored(at + 1, at, name) for at in range(1, 4)))
    assert gateway.meter._synthetic[HIGH].value == 3
    assert gateway.meter._lanes[HIGH].delivered.value == 0


def test_an_item_that_was_recognised_is_that_which_was_parsed() -> None:
    gateway = Gateway(short=True)
    gateway.express(stored(5, 1), stored(6, 5))
    raw = stored(7, 6)
    feed = gateway.world.hub.channels["c"].feeds[HIGH]
    feed.replay_began()  # keeps what comes
    gateway.express(raw)
    (kept,) = feed.ring
    parsed = item(list(EventBatch.FromString(raw).events))
    for name in ("channel", "lane", "epoch", "prev", "first", "last", "count"):
        assert getattr(kept, name) == getattr(parsed, name)
