"""The counter-examples that the rules of positions exist for, one by one, from the log to the client."""

from __future__ import annotations

import pytest
from resume_world import Client, Gateway, ModelLog, PublisherProcess, copy_of

from lanecast.core.position import Position
from lanecast.core.priority import LANES, Priority
from lanecast.v1.event_pb2 import (
    GAP_REASON_AHEAD,
    GAP_REASON_CONFLATED,
    GAP_REASON_EPOCH_UNKNOWN,
    GAP_REASON_TRUNCATED,
    Event,
)
from lanecast.v1.publisher_pb2 import START_EARLIEST, START_LATEST

HIGH, NORMAL = Priority.HIGH, Priority.NORMAL


class Scene:
    """One log, one publisher, one gateway."""

    def __init__(self) -> None:
        self.log = ModelLog()
        self.publisher = PublisherProcess(self.log)
        self.gateway = Gateway()
        self.gateway.connect(self.publisher)
        self.count = 0

    def publish(
        self, count: int = 1, *, channel: str = "a", lane: Priority = HIGH, key: str = "", size: int = 0
    ) -> None:
        for _ in range(count):
            self.count += 1
            event = Event(id=f"e{self.count}", channel=channel, priority=lane, conflation_key=key)
            event.data.value = bytes(size)
            self.publisher.publish((channel, lane), event)

    def client(self, start: int = START_LATEST, **positions: tuple[str, int]) -> Client:
        client = Client("a", start)
        client.cursors = {Priority[lane]: Position(*position) for lane, position in positions.items()}
        client.connect(self.gateway)
        self.rest(client)
        return client

    def rest(self, *clients: Client) -> None:
        for _ in range(20):
            while self.gateway.receive():
                pass
            while self.gateway.requests:
                self.gateway.answer(0, 4)
            for client in clients:
                client.read()
            self.gateway.time += 0.25
            self.gateway.hub.tick(self.gateway.time)

    def restart(self, log: ModelLog | None = None) -> None:
        self.log = log or self.log
        self.publisher = PublisherProcess(self.log)
        self.gateway.connect(self.publisher)


def offsets(client: Client, lane: Priority = HIGH) -> list[int]:
    assert client.problems == []
    return [offset for offset, _ in client.events[lane]]


def test_a_cursor_of_an_unknown_epoch_is_told_so_and_begins_anew() -> None:
    scene = Scene()
    scene.publish(3)
    client = scene.client(HIGH=("of another log", 2))
    assert client.gaps == [(HIGH, 2, 0, GAP_REASON_EPOCH_UNKNOWN)]
    assert offsets(client) == [1, 2, 3]
    assert scene.log.lineage.current == "E1", "no client changes the epoch of the log"


def test_a_cursor_beyond_what_was_ever_issued_goes_on_at_the_end() -> None:
    scene = Scene()
    scene.publish(3)
    client = scene.client(HIGH=("E1", 99))
    assert client.gaps == [(HIGH, 99, 3, GAP_REASON_AHEAD)]
    scene.publish()
    scene.rest(client)
    assert offsets(client) == [4]


def test_a_cursor_ahead_of_this_gateway_but_not_of_the_log_waits() -> None:
    scene = Scene()
    first = scene.client()
    scene.publish(5)  # the gateway has not looked at its stream yet
    client = Client("a", START_LATEST)
    client.cursors[HIGH] = Position("E1", 4)  # it was connected to a gateway that had
    client.connect(scene.gateway)
    assert scene.gateway.hub.positions("a", [HIGH]) == {HIGH: Position("E1", 0)}
    scene.rest(first, client)
    assert (offsets(client), client.gaps) == ([5], [])
    assert offsets(first) == [1, 2, 3, 4, 5]


def test_a_restored_backup_is_told_to_those_who_had_seen_more_and_to_no_one_else() -> None:
    scene = Scene()
    scene.publish(2)
    behind, ahead = scene.client(), scene.client()
    backup = copy_of(scene.log)
    scene.publish(3)
    while scene.gateway.receive():
        pass
    ahead.read()
    behind.disconnect()
    assert offsets(ahead) == [3, 4, 5]
    backup.begin_epoch()
    scene.restart(backup)
    scene.publish(4)
    behind.connect(scene.gateway)
    scene.rest(behind, ahead)
    assert ahead.gaps == [(HIGH, 5, 2, GAP_REASON_AHEAD)]
    assert offsets(ahead) == [3, 4, 5, 3, 4, 5, 6]
    assert (offsets(behind), behind.gaps) == ([3, 4, 5, 6], [])


def test_a_reader_that_starts_in_the_middle_has_its_own_floor() -> None:
    scene = Scene()
    scene.publish(6)
    scene.log.trim(3)
    client = scene.client(START_EARLIEST)
    assert (offsets(client), client.began[HIGH]) == ([4, 5, 6], 3)
    assert client.gaps == [], "nothing is missing to one who asked for what is left"
    late = scene.client(START_LATEST)
    scene.publish()
    scene.rest(client, late)
    assert (late.began[HIGH], offsets(late)) == (6, [7])


def test_a_quiet_channel_whose_retention_passes_has_no_false_gap() -> None:
    scene = Scene()
    scene.publish()
    client = scene.client(START_EARLIEST)
    scene.publish(20, channel="b")
    assert scene.gateway.stream is not None
    for _ in scene.gateway.stream.advance_quiet():
        pass
    scene.gateway.time += 60
    scene.rest(client)
    assert {position.offset for position in client.cursors.values()} == {21}, "quiet cursors have moved"
    client.disconnect()
    scene.log.trim(20)
    client.connect(scene.gateway)
    scene.rest(client)
    scene.publish()
    scene.rest(client)
    assert (offsets(client), client.gaps) == ([1, 22], [])


def test_retention_is_named_only_where_an_event_of_this_very_lane_has_gone() -> None:
    scene = Scene()
    scene.publish(2)
    scene.publish(5, channel="b")
    scene.publish(2)
    scene.log.trim(6)
    seen_all, missed = scene.client(HIGH=("E1", 2)), scene.client(HIGH=("E1", 1))
    assert (offsets(seen_all), seen_all.gaps) == ([8, 9], [])
    assert (offsets(missed), missed.gaps) == ([8, 9], [(HIGH, 1, 2, GAP_REASON_TRUNCATED)])


def test_a_page_of_the_log_joins_the_live_stream_in_one_step() -> None:
    """While a reader is on its way through the log, events come live before, during and after its pages."""
    for events_before_page in range(4):
        scene = Scene()
        live = scene.client()
        scene.publish(5)
        client = Client("a", START_EARLIEST)
        client.connect(scene.gateway)
        while scene.gateway.requests:
            for _ in range(events_before_page):
                scene.publish()
                scene.gateway.receive()
            scene.gateway.answer(0, 2)
        scene.publish()
        scene.rest(live, client)
        assert offsets(client) == offsets(live) == list(range(1, scene.log.end_offset + 1))


@pytest.mark.parametrize(("lane", "size"), [(NORMAL, 60), (Priority.LOW, 0)])
def test_conflation_inside_a_replay_names_what_is_left_out_and_keeps_the_order(lane: Priority, size: int) -> None:
    scene = Scene()
    slow, quick = scene.client(), scene.client()
    slow.sink.full = True
    for number in range(12):
        scene.publish(lane=lane, key="xy"[number % 2], size=size)
        while scene.gateway.receive():
            pass
        quick.read()
    scene.rest(slow, quick)
    assert offsets(quick, lane) == list(range(1, 13)), "others lose nothing"
    seen = offsets(slow, lane)
    assert seen == sorted(seen)
    assert seen[-2:] == [11, 12], "the newest of each key stays"
    assert GAP_REASON_CONFLATED in {reason for _, _, _, reason in slow.gaps}
    named = {offset for _, begin, end, _ in slow.gaps for offset in range(begin + 1, end + 1)}
    assert named.isdisjoint(seen)
    assert named | set(seen) == set(range(1, 13))


def test_a_slow_client_goes_on_across_an_epoch_that_the_log_began_meanwhile() -> None:
    """Its cursor was issued in the new epoch; resuming it under the old one would be answered with AHEAD."""
    scene = Scene()
    client = scene.client()
    scene.publish(3, lane=NORMAL)
    scene.rest(client)
    scene.log.begin_epoch()  # as after a crash of the system that undid nothing
    scene.restart()
    scene.publish(2, lane=NORMAL)
    scene.rest(client)
    client.sink.full = True
    for _ in range(9):
        scene.publish(lane=NORMAL, size=60)
        while scene.gateway.receive():
            pass
    scene.rest(client)
    assert (offsets(client, NORMAL), client.gaps) == (list(range(1, 15)), [])


def test_a_quiet_lane_is_joined_in_the_epoch_that_began_meanwhile() -> None:
    scene = Scene()
    first = scene.client()
    scene.publish(3)
    scene.rest(first)
    scene.log.begin_epoch()
    scene.restart()
    scene.rest(first)
    second = scene.client(START_EARLIEST)
    assert offsets(second) == [1, 2, 3]
    assert [len(scene.gateway.hub.channels["a"].feeds[lane].live) for lane in LANES] == [2] * 4, "all are live"


def test_critical_pages_of_all_channels_come_before_any_other_lane() -> None:
    from gateway_svc.config import GatewayConfig
    from gateway_svc.core.meter import Meter
    from gateway_svc.core.types import TypeBook
    from gateway_svc.upstream import Upstream
    from lanecast.core.instruments import Instruments

    scene = Scene()
    client = scene.client()
    for name in ("a", "b"):
        another = Client(name, START_EARLIEST)
        another.connect(scene.gateway)
        scene.gateway.receive()
    requests = list(scene.gateway.requests)
    types = TypeBook()
    meter = Meter(Instruments(), types, client.session._context.totals)  # type: ignore[union-attr]
    upstream = Upstream(GatewayConfig(publisher_targets=("nowhere:1",)), types, meter)
    for request in requests:
        upstream.read(request)
    order = [upstream._pages.get_nowait()[2] for _ in requests]
    assert [request.lane for request in order] == sorted(request.lane for request in requests)
    assert [request.channel for request in order if request.lane is Priority.CRITICAL] == ["a", "b"]
