"""Crashes, retention, slow clients and reconnects: nothing that was stored is lost, doubled or out of order."""

from __future__ import annotations

import pytest
from effort import effort
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from resume_world import CHANNELS, Client, Gateway, ModelLog, PublisherProcess, copy_of

from gateway_svc.core import channel
from lanecast.core.priority import BULK_LANES, LANES, Priority
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD, GAP_REASON_CONFLATED, GAP_REASON_SHED, GAP_REASON_TRUNCATED, Event
from lanecast.v1.publisher_pb2 import START_EARLIEST, START_LATEST

lanes = st.sampled_from(LANES)
channels = st.sampled_from(CHANNELS)
small = st.integers(0, 5)


class ResumeModel(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(channel, "RING_ITEMS", 3)
        self.log = ModelLog()
        self.backup: ModelLog | None = None
        self.publisher = PublisherProcess(self.log)
        self.gateways = [Gateway(), Gateway()]
        self.clients: list[Client] = []
        self.published: dict[str, tuple[str, Priority, int]] = {}
        """Channel, lane and offset of what is in the log or was trimmed, by id; what a crash undid is gone."""
        self.trimmed = 0
        self._number = 0

    def teardown(self) -> None:
        self.settle()
        self.patch.undo()
        self.check_all()

    # What happens

    @initialize()
    def begin(self) -> None:
        for name in CHANNELS:
            self.add_client(name, earliest=False)
        for gateway in self.gateways:
            gateway.connect(self.publisher)
        for client, gateway in zip(self.clients, self.gateways, strict=True):
            client.connect(gateway)

    @rule(name=channels, earliest=st.booleans())
    @precondition(lambda self: len(self.clients) < 5)
    def add_client(self, name: str, earliest: bool) -> None:
        self.clients.append(Client(name, START_EARLIEST if earliest else START_LATEST))

    @rule(
        name=channels, lane=lanes, count=st.integers(1, 4), key=st.sampled_from(["", "x", "y"]), size=st.integers(0, 90)
    )
    def publish(self, name: str, lane: Priority, count: int, key: str, size: int) -> None:
        for _ in range(count):
            event = Event(id=f"n{self.number()}", channel=name, priority=lane, conflation_key=key)
            event.data.value = bytes(size)
            offset = self.publisher.publish((name, lane), event)
            self.published[event.id] = (name, lane, offset)

    @rule(which=small, name=channels, lane=st.sampled_from(BULK_LANES), count=st.integers(4, 10))
    def storm(self, which: int, name: str, lane: Priority, count: int) -> None:
        """Publish and stream one by one while a client takes nothing."""
        self.clients[which % len(self.clients)].sink.full = True
        for _ in range(count):
            self.publish(name, lane, 1, "", 60)
            for gateway in self.gateways:
                gateway.receive()

    @rule()
    def rest(self) -> None:
        """Let everything come to rest, as most of the time it does."""
        self.settle()

    def number(self) -> int:
        self._number += 1
        return self._number

    @rule()
    def flush(self) -> None:
        self.log.flushed = self.log.end_offset

    @rule(which=small, count=st.integers(1, 4))
    def receive(self, which: int, count: int) -> None:
        for _ in range(count):
            self.gateways[which % 2].receive()

    @rule(which=small, page=small, limit=st.integers(1, 4))
    def answer(self, which: int, page: int, limit: int) -> None:
        self.gateways[which % 2].answer(page, limit)

    @rule(which=small)
    def read(self, which: int) -> None:
        self.clients[which % len(self.clients)].read()

    @rule(which=small)
    def fill(self, which: int) -> None:
        self.clients[which % len(self.clients)].sink.full = True

    @rule(which=small, gateway=small, seen=st.booleans())
    def reconnect(self, which: int, gateway: int, seen: bool) -> None:
        client = self.clients[which % len(self.clients)]
        if seen:
            client.read()
        client.connect(self.gateways[gateway % 2])

    @rule(which=small)
    def cut_stream(self, which: int) -> None:
        self.gateways[which % 2].disconnect()

    @rule(which=small)
    def connect_stream(self, which: int) -> None:
        self.gateways[which % 2].connect(self.publisher)

    @rule(which=small)
    def restart_gateway(self, which: int) -> None:
        old = self.gateways[which % 2]
        old.disconnect()
        for client in self.clients:
            if client.session is not None and client.session._fanout is old.hub:
                client.disconnect()
        self.gateways[which % 2] = Gateway()

    @rule()
    def kill_publisher(self) -> None:
        """What is committed survives; the same boot, the same epoch."""
        self.restart_publisher()

    @rule(lost=st.integers(1, 6))
    def crash_system(self, lost: int) -> None:
        """The unflushed end, or some of it, is gone."""
        self.undo(max(self.log.flushed, self.trimmed, self.log.end_offset - lost))
        self.restart_publisher()

    @rule()
    def back_up(self) -> None:
        self.backup = copy_of(self.log)

    @rule()
    @precondition(lambda self: self.backup is not None and self.backup.lineage.current == self.log.lineage.current)
    def restore(self) -> None:
        assert self.backup is not None
        self.log, self.backup = self.backup, None
        end = self.log.end_offset
        self.published = {
            name: each for name, each in self.published.items() if each[2] <= end and self.holds(name, each)
        }
        self.log.begin_epoch()
        self.restart_publisher()

    @rule(count=st.integers(1, 8))
    def retain(self, count: int) -> None:
        self.trimmed = min(self.log.end_offset, self.trimmed + count)
        self.log.trim(self.trimmed)

    @rule(which=small)
    def advance_quiet(self, which: int) -> None:
        stream = self.gateways[which % 2].stream
        if stream is not None:
            for _ in stream.advance_quiet():
                pass

    @rule(which=small)
    def tick(self, which: int) -> None:
        gateway = self.gateways[which % 2]
        gateway.time += 0.25
        gateway.hub.tick(gateway.time)

    # Helpers

    def holds(self, name: str, each: tuple[str, Priority, int]) -> bool:
        """Say whether the log has the very event, or had it before it was trimmed."""
        stored = [event for _, event in self.log.events if event.offset == each[2]]
        return not stored or Event.FromString(stored[0].data).id == name

    def undo(self, after: int) -> None:
        self.log.lose_after(after)
        self.published = {name: each for name, each in self.published.items() if each[2] <= after}

    def restart_publisher(self) -> None:
        for gateway in self.gateways:
            gateway.disconnect()
        self.publisher = PublisherProcess(self.log)

    def settle(self) -> None:
        """Let everything connect and come to rest."""
        for gateway in self.gateways:
            if gateway.stream is None:
                gateway.connect(self.publisher)
        for _ in range(300):
            for client in self.clients:
                if client.session is None or client.session.closed:
                    client.connect(self.gateways[0])
                client.read()
            for gateway in self.gateways:
                gateway.time += 0.25
                while gateway.receive():
                    pass
                while gateway.requests:
                    gateway.answer(0, 5)
                gateway.hub.tick(gateway.time)
            if self.is_still():
                return
        raise AssertionError("it does not come to rest")

    def is_still(self) -> bool:
        return all(not client.sink.data and self.is_done(client) for client in self.clients)

    def is_done(self, client: Client) -> bool:
        """Say whether the cursors have passed everything there is."""
        heads = {lane: self.log.head((client.channel, lane)) for lane in LANES}
        return all(lane in client.cursors and client.cursors[lane].offset >= head for lane, head in heads.items())

    # What must be true

    @invariant()
    def clients_have_nothing_to_complain_of(self) -> None:
        for client in self.clients:
            assert client.problems == []

    def check_all(self) -> None:
        for client in self.clients:
            assert client.problems == []
            for lane in LANES:
                self.check_lane(client, lane)
            self.check_gaps(client)

    def check_lane(self, client: Client, lane: Priority) -> None:
        names = [name for _, name in client.events[lane]]
        assert len(set(names)) == len(names), f"{lane.name}: delivered twice: {names}"
        delivered = set(names)
        gaps = [(begin, end) for its, begin, end, reason in client.gaps if its == lane]
        for name, (channel_name, its, offset) in self.published.items():
            if channel_name != client.channel or its != lane or offset <= client.began[lane]:
                continue
            named = any(begin < offset <= end for begin, end in gaps)
            assert name in delivered or named, f"{lane.name}: {name} at {offset} is missing; gaps {gaps}"
        left = [offset for offset, name in client.events[lane] if name in self.published]
        assert left == sorted(left), "out of order"

    def check_gaps(self, client: Client) -> None:
        for lane, begin, end, reason in client.gaps:
            if reason == GAP_REASON_CONFLATED:
                assert lane in BULK_LANES
            elif reason == GAP_REASON_SHED:
                assert lane is Priority.LOW
            elif reason == GAP_REASON_TRUNCATED:
                assert begin < end
            else:
                assert reason == GAP_REASON_AHEAD, reason


TestResumeModel = ResumeModel.TestCase
TestResumeModel.settings = settings(max_examples=effort(60), stateful_step_count=40, deadline=None)
