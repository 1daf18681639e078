"""A client and a server joined by a pipe that splits and delays, and peers that send anything."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import peers
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import ANSWER, REQUEST, TRAILERS

from lanecast.core.http2 import frames
from lanecast.core.http2.connection import Connection
from lanecast.core.http2.events import (
    ConnectionFailed,
    Ended,
    Event,
    HeadersReceived,
    MessageReceived,
    Writable,
)
from lanecast.core.http2.guard import Guard
from lanecast.core.http2.limits import Limits

GENEROUS = Guard(burst=10**9)
LIMITS = st.builds(
    Limits,
    max_message_bytes=st.just(400_000),
    stream_window_bytes=st.sampled_from([65_535, 65_536, 100_000, 262_144]),
    connection_window_bytes=st.sampled_from([65_535, 70_000, 4 * 1024 * 1024]),
    max_frame_bytes=st.sampled_from([16_384, 16_385, 65_536]),
)
SIZES = st.one_of(st.integers(0, 40), st.integers(16_370, 16_390), st.integers(65_520, 65_540), st.integers(0, 300_000))


@dataclass
class End:
    """A connection, its messages to send, and what it has received."""

    connection: Connection
    outbox: dict[int, list[bytes]] = field(default_factory=dict)
    received: dict[int, list[bytes]] = field(default_factory=dict)
    unread: list[tuple[int, int]] = field(default_factory=list)
    blocked: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    heard_out: set[int] = field(default_factory=set)
    wire: bytearray = field(default_factory=bytearray)
    """What it has sent and the other has not received."""

    def write(self, is_client: bool) -> bool:
        """Send one message where that may be done; say whether there was one."""
        for stream_id, messages in self.outbox.items():
            if stream_id in self.blocked:
                continue
            if messages:
                if not self.connection.send_message(stream_id, messages.pop(0)):
                    self.blocked.add(stream_id)
                return True
            # A server that ends a call first ends it for both: here it lets the client finish.
            if stream_id not in self.ended and (is_client or stream_id in self.heard_out):
                self.ended.add(stream_id)
                self.connection.end(stream_id, None if is_client else TRAILERS)
                return True
        return False

    def consume(self) -> bool:
        """Take the message that waits longest."""
        if not self.unread:
            return False
        stream_id, size = self.unread.pop(0)
        self.connection.consumed(stream_id, size)
        return True

    def take(self, events: list[Event]) -> None:
        """Take what has come."""
        for event in events:
            assert not isinstance(event, ConnectionFailed), event
            if isinstance(event, MessageReceived):
                self.received.setdefault(event.stream_id, []).append(event.data)
                self.unread.append((event.stream_id, len(event.data)))
            elif isinstance(event, Writable):
                self.blocked.discard(event.stream_id)
            elif isinstance(event, Ended):
                assert not event.truncated
                self.heard_out.add(event.stream_id)


@settings(max_examples=effort(60))
@given(
    LIMITS,
    LIMITS,
    st.lists(st.tuples(st.lists(SIZES, max_size=6), st.lists(SIZES, max_size=6)), min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_all_messages_arrive_whole_and_in_order(
    of_client: Limits, of_server: Limits, calls: list[tuple[list[int], list[int]]], seed: int, narrow: bool
) -> None:
    chance = random.Random(seed)
    client = End(Connection(client=True, limits=of_client, guard=GENEROUS))
    server = End(Connection(client=False, limits=of_server, guard=GENEROUS))
    wanted: dict[str, dict[int, list[bytes]]] = {"there": {}, "back": {}}
    answers = iter(calls)

    def deliver(source: End, target: End) -> bool:
        source.wire += source.connection.take()
        if not source.wire:
            return False
        # One byte at a time would take for ever, and a whole buffer would prove little: both now and then.
        size = chance.choice([1, 8, 9, 10, 1_000, 16_384, 100_000])
        part = bytes(source.wire[:size])
        del source.wire[:size]
        events = target.connection.receive(part, 0.0)
        for event in events:
            if isinstance(event, HeadersReceived) and target is server:
                target.connection.send_headers(event.stream_id, ANSWER)
                back = [chance.randbytes(size) for size in next(answers)[1]]
                wanted["back"][event.stream_id] = list(back)
                target.outbox[event.stream_id] = back
        target.take(events)
        return True

    while not client.connection.settled:
        assert deliver(client, server) | deliver(server, client)
    for there, _ in calls:
        stream_id = client.connection.open_stream(REQUEST)
        messages = [chance.randbytes(size) for size in there]
        wanted["there"][stream_id] = list(messages)
        client.outbox[stream_id] = messages
        client.wire += client.connection.take()
    if narrow:  # the server changes its mind about windows while they are in use
        for window in (0, 70_000, 65_535, of_server.stream_window_bytes):
            server.wire += frames.settings([(frames.INITIAL_WINDOW_SIZE, window)])
    idle = 0
    while idle < 200:  # every way may be tried in vain a few times, but never all of them for good
        step = chance.randrange(6)
        moved = (
            client.write(is_client=True) if step == 0
            else server.write(is_client=False) if step == 1
            else deliver(client, server) if step == 2
            else deliver(server, client) if step == 3
            else client.consume() if step == 4
            else server.consume()
        )  # fmt: skip
        idle = 0 if moved else idle + 1
    assert {key: value for key, value in wanted["there"].items() if value} == server.received
    assert {key: value for key, value in wanted["back"].items() if value} == client.received
    assert client.connection.open_streams == server.connection.open_streams == 0
    assert not client.blocked
    assert not server.blocked


KINDS = st.integers(0, 12)
ANY_FRAME = st.builds(
    frames.frame,
    KINDS,
    st.sampled_from([0, 1, 4, 5, 8, 0xC, 0x20, 0x2D, 0xFF]),
    st.one_of(st.integers(0, 8), st.integers(0, 2**32 - 1)),
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from([peers.block(REQUEST), peers.block(ANSWER), peers.block(TRAILERS), peers.message(b"abc")]),
        st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4, "big")),
    ),
)


def ready(*, is_client: bool) -> Connection:
    """Return a connection with two calls that have something to send."""
    if is_client:
        made = peers.client()
        for _ in range(2):
            made.send_message(made.open_stream(REQUEST), bytes(70_000))
    else:
        made = peers.server()
        made.receive(peers.headers(1) + peers.headers(3), 0.0)
        for stream_id in (1, 3):
            made.send_headers(stream_id, ANSWER)
            made.send_message(stream_id, bytes(70_000))
    made.take()
    return made


@settings(max_examples=effort(300))
@given(st.booleans(), st.lists(ANY_FRAME, max_size=30), st.booleans())
def test_no_frames_raise_anything(is_client: bool, sent: list[bytes], ends: bool) -> None:
    connection = ready(is_client=is_client)
    for frame in sent:
        events = connection.receive(frame, 0.0)
        failures = [event for event in events if isinstance(event, ConnectionFailed)]
        assert len(failures) == connection.failed or not events
        if ends:
            for event in events:
                if isinstance(event, HeadersReceived):
                    connection.end(event.stream_id, TRAILERS)
        if failures:
            assert peers.read_frames(connection.take())[-1].kind == frames.GOAWAY
    assert len(connection.take()) <= 2 * 70_005 + 64 * len(sent) + 2_000


@settings(max_examples=effort(200))
@given(st.booleans(), st.binary(max_size=300), st.booleans())
def test_no_bytes_raise_anything(is_client: bool, sent: bytes, greeted: bool) -> None:
    connection = ready(is_client=is_client) if greeted else Connection(client=is_client)
    connection.take()
    connection.receive(sent, 0.0)
    assert len(connection.take()) < 2 * 70_005 + 64 * len(sent) + 2_000


@settings(max_examples=effort(200))
@given(st.data())
def test_a_conversation_with_flipped_bytes_raises_nothing(given_data: st.DataObject) -> None:
    client, server = peers.client(), peers.server()
    for number in range(3):
        stream_id = client.open_stream(REQUEST)
        client.send_message(stream_id, bytes(20 * number))
        client.end(stream_id)
    raw = bytearray(client.take())
    for _ in range(given_data.draw(st.integers(1, 6))):
        raw[given_data.draw(st.integers(0, len(raw) - 1))] = given_data.draw(st.integers(0, 255))
    for event in server.receive(bytes(raw), 0.0):
        if isinstance(event, HeadersReceived):
            server.end(event.stream_id, ANSWER + TRAILERS)
    client.receive(server.take(), 0.0)


@settings(max_examples=effort(30))
@given(st.lists(ANY_FRAME, min_size=1, max_size=4))
def test_what_a_peer_causes_is_bounded(sent: list[bytes]) -> None:
    """Whatever is repeated: it costs the peer about as many bytes, or ends."""
    connection = ready(is_client=False)
    caused = received = 0
    for _ in range(2_000):
        for frame in sent:
            received += len(frame)
            connection.receive(frame, 0.0)
            caused += len(connection.take())
        if connection.failed:
            break
    assert caused <= 2 * 70_005 + 4 * received + 2_000
