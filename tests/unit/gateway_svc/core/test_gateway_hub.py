"""The edges of the fan-out that random interleavings seldom meet."""

from __future__ import annotations

import pytest
from gateway_fakes import EPOCH, FakeSink, World, event, item, page, subscribe

from gateway_svc.core.hub import LINGER_SECONDS
from gateway_svc.core.items import AdvanceItem, GapItem
from gateway_svc.core.limits import ADVANCE_SECONDS, SUBSCRIBE_SECONDS
from gateway_svc.core.ports import Page
from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD, GAP_REASON_EPOCH_UNKNOWN, GAP_REASON_TRUNCATED, LanePosition
from lanecast.v1.gateway_pb2 import ClientFrame, Unsubscribe

HIGH = Priority.HIGH
ONLY_HIGH = [HIGH.wire_value]


@pytest.fixture
def world() -> World:
    return World()


def at(offset: int, epoch: str = EPOCH) -> list[LanePosition]:
    return [LanePosition(lane=HIGH.wire_value, epoch=epoch, offset=offset)]


def kinds(sink: FakeSink) -> list[str | None]:
    return [frame.WhichOneof("frame") for frame in sink.frames()]


def test_nothing_is_said_before_the_publisher_has_positioned_every_lane(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c")
    assert world.publisher.added == ["c"]
    world.hub.positioned("c", [(Priority.CRITICAL, Position(EPOCH, 5)), (HIGH, Position(EPOCH, 5))])
    assert kinds(sink) == []
    world.hub.positioned("c", [(Priority.NORMAL, Position(EPOCH, 6)), (Priority.LOW, Position(EPOCH, 6))])
    (frame,) = sink.frames()
    assert [each.offset for each in frame.subscribed.positions] == [5, 5, 6, 6]


def test_a_position_at_the_tail_needs_no_page(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH, positions=at(7))
    world.position("c", 7)
    assert world.publisher.requests == []
    assert sink.frames()[0].subscribed.recovered


def test_a_position_of_another_epoch_is_asked_about(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH, positions=at(7, "old"))
    world.position("c", 7)
    (request,) = world.publisher.requests
    assert (request.epoch, request.after) == ("old", 7)
    gap = GapItem("c", HIGH, EPOCH, 7, 3, GAP_REASON_EPOCH_UNKNOWN, 0)
    world.hub.page(request, Page(EPOCH, [gap], [], 7, False))
    subscribed, told, advance = sink.frames()
    assert (subscribed.subscribed.recovered, subscribed.subscribed.positions[0].offset) == (False, 3)
    assert (told.gap.from_offset, told.gap.to_offset, told.gap.epoch) == (7, 3, EPOCH)
    assert advance.advance.through_offset == 7


def test_a_second_subscription_replaces_the_first(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH, positions=at(1))
    world.position("c", 9)
    (stale,) = world.publisher.requests
    subscribe(session, "c", lanes=ONLY_HIGH)
    world.hub.page(stale, page([event(5, 1)], 9, HIGH))
    world.live(item([event(10, 9)]))
    assert kinds(sink) == ["subscribed", "events"]


def test_what_waits_for_a_channel_is_forgotten_when_it_is_unsubscribed(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c")
    world.position("c")
    sink.full = True
    world.live(item([event(1, 0)]))
    world.live(item([event(2, 1)]))
    session.receive(ClientFrame(unsubscribe=Unsubscribe(channel="c")).SerializeToString())
    sink.frames()
    sink.full = sink.held = False
    session.outbox.resume()
    assert kinds(sink) == ["unsubscribed"]


def test_a_channel_nobody_wants_leaves_the_stream_after_a_while(world: World) -> None:
    session, _ = world.session()
    subscribe(session, "c")
    world.position("c")
    session.leave()
    for world.time in (0.0, LINGER_SECONDS - 0.1):
        world.hub.tick(world.time)
    assert world.publisher.removed == []
    world.hub.tick(LINGER_SECONDS)
    assert world.publisher.removed == ["c"]
    assert world.hub.channels == {}


def test_a_channel_wanted_again_in_time_stays(world: World) -> None:
    session, _ = world.session()
    subscribe(session, "c")
    world.position("c", 3)
    session.leave()
    world.hub.tick(0.0)
    again, sink = world.session()
    subscribe(again, "c")
    world.hub.tick(LINGER_SECONDS + 1)
    assert world.publisher.removed == []
    assert world.publisher.added == ["c"]
    assert sink.frames()[0].subscribed.positions[0].offset == 3


def test_a_subscription_without_an_answer_ends_with_an_error(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c")
    world.hub.tick(0.0)
    world.hub.tick(SUBSCRIBE_SECONDS)
    (frame,) = sink.frames()
    assert (frame.error.reason, frame.error.retryable) == ("CHANNEL_UNAVAILABLE", True)
    assert session.subscriptions == {}


def test_a_rewound_log_is_announced_from_each_reader_s_cursor(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH)
    world.position("c")
    world.live(item([event(1, 0), event(2, 1), event(3, 2)]))
    world.hub.rewind(GapItem("c", HIGH, "B", 3, 1, GAP_REASON_AHEAD, 0))
    world.live(item([event(2, 1)]))
    subscribed, first, gap, second = sink.frames()
    assert (gap.gap.from_offset, gap.gap.to_offset, gap.gap.epoch) == (3, 1, "B")
    assert [each.offset for each in second.events.events] == [2]
    assert len(first.events.events) == 3
    assert subscribed.subscribed.positions[0].offset == 0


def test_a_gap_on_the_stream_lifts_the_check_for_its_range(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH)
    world.position("c")
    world.live(GapItem("c", HIGH, EPOCH, 0, 4, GAP_REASON_TRUNCATED, 4))
    world.live(item([event(5, 4)]))
    assert kinds(sink) == ["subscribed", "gap", "events"]
    assert world.publisher.requests == []


def test_advances_move_cursors_always_and_tell_clients_now_and_then(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH)
    world.position("c")
    for now, through in ((ADVANCE_SECONDS, 10), (ADVANCE_SECONDS + 1, 20), (2 * ADVANCE_SECONDS, 30)):
        world.hub.advance(AdvanceItem("c", HIGH, EPOCH, through), now)
    world.live(item([event(31, 30)]))
    frames = sink.frames()
    assert [frame.advance.through_offset for frame in frames if frame.WhichOneof("frame") == "advance"] == [10, 30]
    assert frames[-1].events.events[0].offset == 31


def test_a_page_that_fails_is_tried_again(world: World) -> None:
    session, _ = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH, positions=at(1))
    world.position("c", 5)
    request = world.publisher.requests.pop()
    world.hub.page_failed(request, "later", retryable=True)
    world.hub.tick(1.0)
    assert world.publisher.requests == [request]


def test_a_log_ahead_of_the_stream_gives_no_event_twice(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH, positions=at(1))
    world.position("c", 5)
    world.hub.page(world.publisher.requests.pop(), page([event(4, 1), event(6, 4), event(7, 6)], 8, HIGH))
    world.live(item([event(6, 4), event(7, 6), event(9, 7)]))
    offsets = [each.offset for frame in sink.frames() for each in frame.events.events]
    assert offsets == [4, 6, 7, 9]


def test_a_stream_that_begins_again_further_back_moves_nobody_back(world: World) -> None:
    session, sink = world.session()
    subscribe(session, "c", lanes=ONLY_HIGH)
    world.position("c")
    world.live(item([event(1, 0), event(2, 1)]))
    world.position("c", 1)
    other, later = world.session()
    subscribe(other, "c", lanes=ONLY_HIGH)
    world.live(item([event(2, 1), event(3, 2)]))
    assert [each.offset for frame in sink.frames() for each in frame.events.events] == [1, 2, 3]
    subscribed, events = later.frames()
    assert subscribed.subscribed.positions[0].offset == 2
    assert [each.offset for each in events.events.events] == [3]
