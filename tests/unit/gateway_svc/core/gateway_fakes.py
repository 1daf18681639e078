"""Fakes for the gateway's core: a socket that can be full, a publisher whose answers come when the test says so."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway_svc.core.backlog import Totals
from gateway_svc.core.hub import Hub
from gateway_svc.core.items import EventItem, Item
from gateway_svc.core.limits import SessionLimits
from gateway_svc.core.ports import Page, PageRequest
from gateway_svc.core.session import Session, SessionContext
from gateway_svc.core.types import TypeBook
from lanecast.core import wire
from lanecast.core.position import Position
from lanecast.core.priority import LANES, Priority
from lanecast.errors import TokenError
from lanecast.v1.event_pb2 import ARM_CANDIDATE, Event, EventBatch
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Receipt, ServerFrame, Subscribe

EPOCH = "A"


class FakeSink:
    """Takes everything until `full`; then keeps the next write until `drain`."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.full = False
        self.held = False
        self.closed: tuple[int, str] | None = None

    def write(self, data: bytes) -> bool:
        assert not self.held, "written to before the rest had gone"
        self.data += data
        self.held = self.full
        return not self.full

    def close(self, number: int, reason: str) -> None:
        self.closed = (number, reason)

    def frames(self) -> list[ServerFrame]:
        """Take what was written, parsed."""
        data, self.data = bytes(self.data), bytearray()
        return [ServerFrame.FromString(payload) for payload in split(data)]


def split(data: bytes) -> list[bytes]:
    """Return the payloads of unmasked WebSocket frames."""
    payloads: list[bytes] = []
    at = 0
    while at < len(data):
        size, at = data[at + 1], at + 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        payloads.append(data[at : at + size])
        at += size
    return payloads


@dataclass
class FakePublisher:
    """Notes what is asked."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    requests: list[PageRequest] = field(default_factory=list)

    def add(self, channel: str) -> None:
        self.added.append(channel)

    def remove(self, channel: str) -> None:
        self.removed.append(channel)

    def read(self, request: PageRequest) -> None:
        self.requests.append(request)


@dataclass(frozen=True)
class FakeIdentity:
    subject: str = "someone"
    expires_unix: int = 2**40
    lanes: frozenset[Priority] = frozenset(LANES)
    prefix: str = ""

    def lanes_for(self, channel: str) -> frozenset[Priority]:
        return self.lanes if channel.startswith(self.prefix) else frozenset()


class World:
    """A hub with sessions, whose clock and token check are the test's."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self.publisher = FakePublisher()
        self.sent: list[Item] = []
        self.hub = Hub(self.publisher, self.sent.append)
        self.time = 0.0
        self.totals = Totals()
        self.receipts: list[Receipt] = []
        self.tokens: dict[str, FakeIdentity] = {"good": FakeIdentity()}
        self.context = SessionContext(
            limits=limits or SessionLimits(max_commands_per_second=1_000_000),
            heartbeat_seconds=15.0,
            verify=self._verify,
            now_ns=lambda: int(self.time * 1e9) + 1,
            now=lambda: self.time,
            totals=self.totals,
            on_receipt=self.receipts.append,
            on_token=lambda session: None,
        )

    def session(self, *, hello: bool = True, binary: bool = True) -> tuple[Session, FakeSink]:
        sink = FakeSink()
        session = Session(f"s{id(sink)}", sink, self.hub, self.context, binary=binary)
        if hello:
            session.receive(ClientFrame(hello=Hello(token="good")).SerializeToString())
            sink.frames()
        return session, sink

    def position(self, channel: str, offset: int = 0) -> None:
        self.hub.positioned(channel, [(lane, Position(EPOCH, offset)) for lane in LANES])

    def live(self, item: Item) -> int:
        accepted = self.hub.accept(item)
        return self.hub.distribute(accepted[0], accepted[1].live_readers()) if accepted else 0

    def _verify(self, token: str) -> FakeIdentity:
        if token not in self.tokens:
            raise TokenError("TOKEN_EXPIRED" if token == "old" else "TOKEN_FOREIGN", "not this token")
        return self.tokens[token]


def subscribe(session: Session, channel: str, **fields: object) -> None:
    command = Subscribe(channel=channel, **fields)  # type: ignore[arg-type]
    session.receive(ClientFrame(subscribe=command).SerializeToString())


def drain(session: Session, sink: FakeSink) -> None:
    """Let the kernel take everything, as `resume_writing` does."""
    sink.full = False
    while sink.held:
        sink.held = False
        session.outbox.resume()
        if session.outbox.clear:
            session.resumed()


def event(offset: int, prev: int, size: int = 0, key: str = "", ttl_millis: int = 0) -> Event:
    made = Event(id=f"e{offset}", offset=offset, prev_offset=prev, accept_time_unix_nano=1)
    made.conflation_key, made.ttl_millis = key, ttl_millis
    made.data.type_url = "type.googleapis.com/test"
    made.data.value = b"x" * size
    return made


def item(events: list[Event], channel: str = "c", lane: Priority = Priority.HIGH, *, live: bool = True) -> EventItem:
    batch = EventBatch(channel=channel, lane=lane.wire_value, epoch=EPOCH, events=events, replayed=not live)
    return EventItem(batch, batch.SerializeToString(), TypeBook(), 5 if live else 0, 6 if live else 0)


def stored(
    offset: int,
    prev: int,
    channel: str = "c",
    lane: Priority = Priority.HIGH,
    *,
    policy: str = "default",
    epoch: str = EPOCH,
    generation: int = 0,
    flush_ns: int = 4_000,
    **fields: object,
) -> bytes:
    """Return a batch of one event as the publisher sends it: what the SDK made, and what the log knows of it."""
    sent = Event(id=f"e{offset}", source="test", channel=channel, priority=lane.wire_value)
    sent.create_time_unix_nano, sent.send_time_unix_nano = 500, 1_000
    sent.data.type_url, sent.data.value = "type.googleapis.com/test", b"x" * 40
    for name, value in fields.items():
        setattr(sent, name, value)
    data = sent.SerializeToString() + wire.event_position(offset, prev, 2_000) + wire.event_store_time(3_000)
    arm = ARM_CANDIDATE if generation else 0
    return wire.batch(wire.batch_head(channel, lane, epoch, policy, arm, generation), [data], flush_ns)


def page(events: list[Event], covered: int, lane: Priority, *, more: bool = False, channel: str = "c") -> Page:
    return Page(EPOCH, [], [item([each], channel, lane, live=False) for each in events], covered, more)
