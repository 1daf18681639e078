"""Anything may come from outside: each parser answers with a defined refusal, and nothing else happens."""

from __future__ import annotations

import json

import pytest
from effort import effort
from gateway_fakes import World
from hypothesis import given, settings
from hypothesis import strategies as st
from resume_world import ModelLog, PublisherProcess, now

from gateway_svc.core.commands import CommandError, parse
from gateway_svc.core.handshake import Readiness, answer, check_head
from lanecast.ai.v1 import concierge_pb2
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import codes
from lanecast.errors import StatusError
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import Event, LanePosition
from lanecast.v1.gateway_pb2 import ClientFrame, Hello, Pong, Receipt, Subscribe, Unsubscribe
from publisher_svc.core.admission import Refusal, check_event
from publisher_svc.core.registry import TypeRegistry

NUMBERS = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(0, 5))
BIG = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 5))
TEXTS = st.one_of(
    st.text(max_size=300), st.sampled_from(["a", "agent:42", "", "a*", ">", "x" * 256, "\x00", "é" * 128])
)
JSON = st.recursive(
    st.text(st.characters(categories=["Cs", "Ll"]), max_size=5)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
FIELDS = ["channel", "lanes", "start", "lastN", "positions", "lane", "epoch", "offset", "token", "samples", "sequence"]
NAMES = TEXTS | st.text(st.characters(categories=["Cs", "Ll"]), max_size=5)
COMMAND_JSON = st.dictionaries(
    st.sampled_from(["hello", "subscribe", "unsubscribe", "pong", "receipt", "refreshToken", "other"]),
    JSON | st.dictionaries(st.sampled_from(FIELDS) | NAMES, JSON, max_size=5),
    max_size=2,
)
lane_positions = st.builds(LanePosition, lane=NUMBERS, epoch=TEXTS, offset=BIG)  # type: ignore[arg-type]
commands = st.one_of(
    st.builds(lambda token: ClientFrame(hello=Hello(token=token)), TEXTS),
    st.builds(
        lambda channel, lanes, start, last_n, positions: ClientFrame(
            subscribe=Subscribe(channel=channel, lanes=lanes, start=start, last_n=last_n, positions=positions)
        ),
        TEXTS, st.lists(NUMBERS, max_size=5), NUMBERS, st.integers(0, 2**32 - 1), st.lists(lane_positions, max_size=5),
    ),
    st.builds(lambda channel: ClientFrame(unsubscribe=Unsubscribe(channel=channel)), TEXTS),
    st.builds(lambda at, probe: ClientFrame(pong=Pong(sequence=at, probe=probe)), BIG, st.booleans()),
    st.just(ClientFrame(receipt=Receipt())),
)  # fmt: skip


def damaged(data: bytes, cuts: list[tuple[int, int]]) -> bytes:
    """Change some bytes, and perhaps cut the end off."""
    content = bytearray(data)
    for at, value in cuts:
        if content and value > 255:
            del content[at % len(content) :]
        elif content:
            content[at % len(content)] = value
    return bytes(content)


damages = st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 270)), max_size=6)


def understood(data: bytes, *, binary: bool) -> None:
    refusal = ""
    frame = ClientFrame()
    try:
        frame = parse(data, binary=binary)
    except CommandError as error:
        refusal = str(error)
    assert "Traceback" not in refusal
    assert (frame.WhichOneof("frame") is None) == bool(refusal)


@settings(max_examples=effort(150))
@given(st.binary(max_size=300), st.booleans())
def test_fuzz_bytes_are_a_command_or_refused(data: bytes, binary: bool) -> None:
    understood(data, binary=binary)


@settings(max_examples=effort(150))
@given(JSON | COMMAND_JSON, damages)
def test_fuzz_json_is_a_command_or_refused(value: object, cuts: list[tuple[int, int]]) -> None:
    understood(damaged(json.dumps(value).encode(), cuts), binary=False)


@pytest.mark.parametrize(
    "text",
    [
        r'{"\ud800": 1}',
        r'{"subscribe": {"channel": "a", "lanes": ["\udfff"]}}',
        r'{"subscribe": {"channel": "a", "\uD800x": 1}}',
        r'{"hello": {"token": "\ud800"}}',
    ],
)
def test_half_a_character_is_refused_wherever_it_stands(text: str) -> None:
    world = World()
    session, sink = world.session(binary=False, hello=False)
    session.receive(text.encode())
    assert sink.closed == (codes.MALFORMED_FRAME.number, codes.MALFORMED_FRAME.reason)


@settings(max_examples=effort(100))
@given(st.lists(st.tuples(commands, damages), max_size=8))
def test_fuzz_commands_cost_their_sender_the_connection_at_most(
    plan: list[tuple[ClientFrame, list[tuple[int, int]]]],
) -> None:
    world = World()
    other, sink = world.session()
    session, own = world.session()
    for frame, cuts in plan:
        session.receive(damaged(frame.SerializeToString(), cuts))
    for message in own.frames():
        if message.WhichOneof("frame") == "error":
            assert message.error.reason
            assert "Traceback" not in message.error.message
    assert session.closed == (own.closed is not None)
    other.receive(ClientFrame(subscribe=Subscribe(channel="fine")).SerializeToString())
    world.position("fine")
    assert [message.WhichOneof("frame") for message in sink.frames()] == ["subscribed"]


@settings(max_examples=effort(100))
@given(st.binary(max_size=400), TEXTS, st.booleans(), st.booleans())
def test_fuzz_requests_over_http_are_refused_or_let_through(head: bytes, path: str, draining: bool, full: bool) -> None:
    for made in (check_head(head), answer("/" + path, Readiness(draining, upstream=True, full=full))):
        assert made is None or 200 <= made.status < 600
        assert made is None or made.serialize().startswith(b"HTTP/1.1 ")


def read_request(
    channel: str, lane: int, limit: int, after: tuple[str, int] | None, last_n: int
) -> pb.ReadEventsRequest:
    request = pb.ReadEventsRequest(channel=channel, lane=lane, limit=limit)  # type: ignore[arg-type]
    if after is None:
        request.last_n = last_n
    else:
        request.after.epoch, request.after.offset = after
    return request


counts = st.integers(0, 2**32 - 1)
afters = st.none() | st.tuples(TEXTS | st.just("E1"), BIG)
reads = st.builds(read_request, TEXTS, NUMBERS, counts, afters, counts)


@settings(max_examples=effort(150))
@given(reads)
def test_fuzz_reads_are_answered_or_refused(request: pb.ReadEventsRequest) -> None:
    log = ModelLog()
    publisher = PublisherProcess(log)
    for number in range(4):
        publisher.publish(("a", 1), Event(id=str(number), channel="a", priority=1))  # type: ignore[arg-type]
    refusal: StatusError | None = None
    try:
        response = now(publisher.reads.read_events(request))
    except StatusError as error:
        refusal = error
    if refusal is not None:
        assert (refusal.code, bool(refusal.reason)) == (3, True)
    else:
        assert response.covered_through <= max(log.end_offset, request.after.offset)


starts = st.builds(pb.ChannelStart, channel=TEXTS, start=NUMBERS, last_n=st.integers(0, 2**32 - 1), positions=st.lists(lane_positions, max_size=4))  # type: ignore[arg-type] # fmt: skip # noqa: E501


@settings(max_examples=effort(100))
@given(st.lists(starts, max_size=4))
def test_fuzz_subscriptions_are_answered_one_by_one(channels: list[pb.ChannelStart]) -> None:
    publisher = PublisherProcess(ModelLog())
    publisher.publish(("a", 1), Event(id="x", channel="a", priority=1))  # type: ignore[arg-type]
    stream = publisher.stream()
    now(stream._add(channels))
    data = stream._downstream.take(1)
    answered = pb.StreamEventsResponse.FromString(data or b"").added
    assert [added.channel for added in answered] == [start.channel for start in channels]
    stream.close()


def registry() -> TypeRegistry:
    made = TypeRegistry()
    made.add_file(concierge_pb2.DESCRIPTOR)
    return made


REGISTRY = registry()


@settings(max_examples=effort(200))
@given(st.builds(Event, id=TEXTS, source=TEXTS, channel=TEXTS, priority=NUMBERS, conflation_key=TEXTS), st.binary(max_size=40), damages)  # type: ignore[arg-type] # fmt: skip # noqa: E501
def test_fuzz_events_are_accepted_or_refused(event: Event, payload: bytes, cuts: list[tuple[int, int]]) -> None:
    event.data.Pack(ConciergeInsight(text="x"))
    event.data.value = damaged(event.data.value, cuts) + payload
    refusal = check_event(event, REGISTRY)
    if refusal is None:
        ConciergeInsight.FromString(event.data.value)
    else:
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.retry_delay_millis) == (3, 0)
