"""The rules of RFC 9113, one by one, against a peer of raw frames."""

from __future__ import annotations

import peers
import pytest
from peers import ANSWER, REQUEST, TRAILERS, data, headers, message, read_frames

from lanecast.core.http2 import frames
from lanecast.core.http2.connection import Connection
from lanecast.core.http2.events import (
    Ended,
    Event,
    GoingAway,
    HeadersReceived,
    MessageReceived,
    MessageTooLarge,
    Pong,
    StreamReset,
    Writable,
)
from lanecast.core.http2.frames import ErrorCode
from lanecast.core.http2.guard import Guard
from lanecast.core.http2.limits import Limits

GREETING = frames.PREFACE + frames.settings([])
SMALL = Limits(stream_window_bytes=65_535, connection_window_bytes=65_535, max_frame_bytes=16_384, max_streams=2)


def kinds(connection: Connection) -> list[int]:
    return [each.kind for each in read_frames(connection.take())]


# The beginning


@pytest.mark.parametrize("step", [1, 5, 23, 24, 25, 1_000])
def test_a_greeting_may_come_in_any_pieces(step: int) -> None:
    server = Connection(client=False)
    for start in range(0, len(GREETING), step):
        assert server.receive(GREETING[start : start + step], 0.0) == []
    assert server.settled
    sent = read_frames(server.take())
    assert [(each.kind, each.flags) for each in sent] == [
        (frames.SETTINGS, 0),
        (frames.WINDOW_UPDATE, 0),
        (frames.SETTINGS, frames.ACK),
    ]


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"\0" * 30,
        GREETING[24:],
    ],
    ids=["HTTP/1.1", "TLS", "nearly", "zeros", "no preface"],
)
def test_another_protocol_is_told_so(greeting: bytes) -> None:
    server = Connection(client=False)
    failed = peers.failure(server.receive(greeting, 0.0))
    assert failed.code is ErrorCode.PROTOCOL_ERROR
    assert "speak HTTP/2" in failed.text
    assert read_frames(server.take())[-1].kind == frames.GOAWAY
    assert server.receive(GREETING, 0.0) == []
    assert not server.takes_streams


@pytest.mark.parametrize(
    "first",
    [
        frames.frame(frames.PING, 0, 0, bytes(8)),
        frames.frame(frames.SETTINGS, frames.ACK, 0),
        headers(1),
        frames.window_update(0, 1),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
    ids=["ping", "acknowledgement", "headers", "window", "HTTP/1.1"],
)
def test_the_first_frame_must_be_settings(first: bytes) -> None:
    client = Connection(client=True)
    failed = peers.failure(client.receive(first, 0.0))
    assert failed.code is ErrorCode.PROTOCOL_ERROR
    assert "first frame must be SETTINGS" in failed.text


def test_a_client_announces_itself() -> None:
    sent = Connection(client=True, limits=SMALL).take()
    assert sent.startswith(frames.PREFACE)
    only = read_frames(sent)
    assert [each.kind for each in only] == [frames.SETTINGS], "a window that is as large as by default needs no frame"
    values = dict(frames.read_settings(only[0].payload))
    assert values[frames.ENABLE_PUSH] == 0
    assert values[frames.INITIAL_WINDOW_SIZE] == 65_535


# What breaks a connection

OPEN = headers(1)
PING = frames.frame(frames.PING, 0, 0, bytes(8))
BROKEN: dict[str, tuple[bytes, ErrorCode]] = {
    "frame too large": (frames.header(frames.DATA, 0, 1, 16_385), ErrorCode.FRAME_SIZE_ERROR),
    "unknown frame too large": (frames.header(99, 0, 0, 2**24 - 1), ErrorCode.FRAME_SIZE_ERROR),
    "data on the connection": (data(0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data on an idle stream": (data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data on a stream of the server": (OPEN + data(2, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data after the end": (
        headers(1, flags=frames.END_HEADERS | frames.END_STREAM) + data(1, b"x"),
        ErrorCode.STREAM_CLOSED,
    ),
    "data that is all padding": (OPEN + data(1, b"\x05xxxx", frames.PADDED), ErrorCode.PROTOCOL_ERROR),
    "padded data without a length": (OPEN + data(1, b"", frames.PADDED), ErrorCode.PROTOCOL_ERROR),
    "headers on the connection": (headers(0), ErrorCode.PROTOCOL_ERROR),
    "headers with an even number": (headers(2), ErrorCode.PROTOCOL_ERROR),
    "headers after the end": (
        headers(1, flags=frames.END_HEADERS | frames.END_STREAM) + headers(1, TRAILERS, 5),
        ErrorCode.STREAM_CLOSED,
    ),
    "headers without room for the priority": (
        frames.frame(frames.HEADERS, frames.END_HEADERS | frames.WITH_PRIORITY, 1, b"xxxx"),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "headers that cannot be read": (
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "an index of nothing": (frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xbe"), ErrorCode.COMPRESSION_ERROR),
    "a table larger than allowed": (
        frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x3f\xe2\x1f"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "headers interrupted by a ping": (headers(1, flags=0) + PING, ErrorCode.PROTOCOL_ERROR),
    "headers interrupted by an unknown frame": (headers(1, flags=0) + frames.frame(99, 0, 0), ErrorCode.PROTOCOL_ERROR),
    "headers interrupted by another stream": (
        headers(1, flags=0) + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 3),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a continuation of nothing": (
        frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a continuation after the last": (
        OPEN + frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "priority of the connection": (frames.frame(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "priority of four bytes": (frames.frame(frames.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "reset of the connection": (frames.rst_stream(0, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    "reset of an idle stream": (frames.rst_stream(1, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    "reset of three bytes": (OPEN + frames.frame(frames.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "settings of a stream": (frames.frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "settings of five bytes": (frames.frame(frames.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "an answer with settings": (frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "window too large": (frames.settings([(frames.INITIAL_WINDOW_SIZE, 2**31)]), ErrorCode.FLOW_CONTROL_ERROR),
    "frame size too small": (frames.settings([(frames.FRAME_SIZE, 16_383)]), ErrorCode.PROTOCOL_ERROR),
    "frame size too large": (frames.settings([(frames.FRAME_SIZE, 2**24)]), ErrorCode.PROTOCOL_ERROR),
    "push neither on nor off": (frames.settings([(frames.ENABLE_PUSH, 2)]), ErrorCode.PROTOCOL_ERROR),
    "push": (OPEN + frames.frame(frames.PUSH_PROMISE, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "ping of a stream": (frames.frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "ping of seven bytes": (frames.frame(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "going away of a stream": (frames.frame(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "going away in seven bytes": (frames.frame(frames.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "window update of three bytes": (frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "window update by nothing": (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "window update of a stream by nothing": (OPEN + frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
    "window update of an idle stream": (frames.window_update(1, 1), ErrorCode.PROTOCOL_ERROR),
    "window of the connection beyond bounds": (frames.window_update(0, 2**31 - 65_535), ErrorCode.FLOW_CONTROL_ERROR),
    "window of a stream beyond bounds": (OPEN + frames.window_update(1, 2**31 - 65_535), ErrorCode.FLOW_CONTROL_ERROR),
    "window beyond bounds by settings": (
        OPEN + frames.window_update(1, 2**31 - 65_536) + frames.settings([(frames.INITIAL_WINDOW_SIZE, 65_536)]),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "more than a stream's window": (
        OPEN + b"".join(data(1, message(bytes(16_379))) for _ in range(4)),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "headers too long": (
        frames.frame(frames.HEADERS, 0, 1, bytes(16_384)) + frames.frame(frames.CONTINUATION, 0, 1, b"x"),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_rule_ends_the_connection(name: str) -> None:
    sent, code = BROKEN[name]
    server = peers.server(SMALL)
    failed = peers.failure(server.receive(sent, 0.0))
    assert failed.code is code, failed
    last = read_frames(server.take())[-1]
    assert last.kind == frames.GOAWAY
    assert frames.read_goaway(last.payload)[1:] == (code, failed.text)
    assert server.failed


@pytest.mark.parametrize("name", BROKEN)
def test_it_does_so_however_it_is_split(name: str) -> None:
    sent, code = BROKEN[name]
    server = peers.server(SMALL)
    events: list[Event] = []
    for start in range(0, len(sent), 7):
        events += server.receive(sent[start : start + 7], 0.0)
    assert peers.failure(events).code is code


def test_more_than_the_window_of_the_connection_ends_it() -> None:
    server = peers.server(Limits(stream_window_bytes=200_000, connection_window_bytes=65_535, max_frame_bytes=100_000))
    failed = peers.failure(server.receive(headers(1) + data(1, bytes(65_536)), 0.0))
    assert failed.code is ErrorCode.FLOW_CONTROL_ERROR


# What does not


IGNORED = {
    "unknown frame": frames.frame(99, 0xFF, 7, b"whatever"),
    "priority": frames.frame(frames.PRIORITY, 0, 5, bytes(5)),
    "unknown setting": frames.settings([(0x99, 7)]),
    "acknowledgement": frames.frame(frames.SETTINGS, frames.ACK, 0),
    "reset of a stream that is over": headers(1) + 2 * frames.rst_stream(1, ErrorCode.CANCEL),
    "data on a stream that is over": headers(1) + frames.rst_stream(1, ErrorCode.CANCEL) + data(1, b"x"),
    "trailers on a stream that is over": headers(1) + frames.rst_stream(1, ErrorCode.CANCEL) + headers(1, TRAILERS, 5),
    "window of a stream that is over": headers(1) + frames.rst_stream(1, ErrorCode.CANCEL) + frames.window_update(1, 9),
    "reserved bit of a stream's number": frames.frame(frames.PING, 0, 0x8000_0000, bytes(8)),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_harmless_is_ignored(name: str) -> None:
    server = peers.server()
    events = server.receive(IGNORED[name], 0.0)
    assert not server.failed
    assert not any(isinstance(event, MessageReceived) for event in events)
    assert server.open_streams == 0


def test_a_ping_is_answered_with_its_own_bytes() -> None:
    server = peers.server()
    server.receive(frames.frame(frames.PING, 0, 0, b"8 bytes!"), 0.0)
    assert server.take() == frames.frame(frames.PING, frames.ACK, 0, b"8 bytes!")
    server.ping()
    asked = read_frames(server.take())[0]
    assert server.receive(frames.frame(frames.PING, frames.ACK, 0, asked.payload), 0.0) == [Pong()]


# Headers


def test_a_request_comes_with_padding_priority_and_in_parts() -> None:
    server = peers.server()
    fields = peers.block(REQUEST)
    flags = frames.PADDED | frames.WITH_PRIORITY | frames.END_STREAM
    sent = frames.frame(frames.HEADERS, flags, 1, b"\x03" + bytes(5) + fields[:10] + b"pad")
    sent += frames.frame(frames.CONTINUATION, 0, 1, fields[10:12]) + frames.frame(frames.CONTINUATION, 0, 1)
    sent += frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, fields[12:])
    assert server.receive(sent, 0.0) == [HeadersReceived(1, REQUEST, True), Ended(1, False)]


def test_headers_longer_than_a_frame_are_continued() -> None:
    client = peers.client()
    long = [*REQUEST, *[(b"x-%d" % number, str(number * 7919).encode() * 12) for number in range(400)]]
    client.open_stream(long)
    sent = read_frames(client.take())
    assert [each.kind for each in sent] == [frames.HEADERS] + [frames.CONTINUATION] * (len(sent) - 1)
    assert [each.flags for each in sent[:-1]] == [0] * (len(sent) - 1)
    assert sent[-1].flags == frames.END_HEADERS
    assert len(sent) > 1
    server = peers.server(Limits(max_header_bytes=1_000_000))
    raw = b"".join(frames.frame(each.kind, each.flags, each.stream_id, each.payload) for each in sent)
    assert server.receive(raw, 0.0) == [HeadersReceived(1, long, False)]


def test_a_header_bomb_is_cut_off() -> None:
    """Four kilobytes in the table, named a thousand times by a byte each."""
    server = peers.server()
    first = b"\x40\x01x\x7f\x81\x1e" + b"y" * 4_000
    failed = peers.failure(
        server.receive(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, first + b"\xbe" * 1_000), 0.0)
    )
    assert failed.code is ErrorCode.ENHANCE_YOUR_CALM


MALFORMED = {
    "capitals": [*REQUEST, (b"X-Thing", b"1")],
    "empty name": [*REQUEST, (b"", b"1")],
    "space in a name": [*REQUEST, (b"a b", b"1")],
    "line break in a value": [*REQUEST, (b"a", b"1\r\nb: 2")],
    "NUL in a value": [*REQUEST, (b"a", b"\0")],
    "connection": [*REQUEST, (b"connection", b"close")],
    "transfer-encoding": [*REQUEST, (b"transfer-encoding", b"chunked")],
    "te": [*REQUEST, (b"te", b"gzip")],
    "unknown pseudo-field": [(b":who", b"me"), *REQUEST],
    "pseudo-field of answers": [(b":status", b"200"), *REQUEST],
    "pseudo-field twice": [(b":method", b"POST"), *REQUEST],
    "pseudo-field late": [*REQUEST, (b":authority", b"x")],
    "no method": REQUEST[1:],
    "no path": [each for each in REQUEST if each[0] != b":path"],
    "empty path": [(b":path", b"") if each[0] == b":path" else each for each in REQUEST],
    "nothing at all": [],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_ends_its_stream_only(name: str) -> None:
    server = peers.server()
    assert server.receive(headers(1, MALFORMED[name]), 0.0) == []
    assert server.take() == frames.rst_stream(1, ErrorCode.PROTOCOL_ERROR)
    assert server.receive(headers(3), 0.0) == [HeadersReceived(3, REQUEST, False)]
    assert server.open_streams == 1


@pytest.mark.parametrize(
    ("fields", "flags"),
    [(TRAILERS, frames.END_HEADERS), (REQUEST, 5), ([(b":status", b"200")], 5), ([(b"A", b"b")], 5)],
    ids=["no end", "a second request", "pseudo-field", "capitals"],
)
def test_malformed_trailers_end_their_stream_only(fields: list[tuple[bytes, bytes]], flags: int) -> None:
    server = peers.server()
    events = server.receive(headers(1) + headers(1, fields, flags), 0.0)
    assert events == [HeadersReceived(1, REQUEST, False), StreamReset(1, ErrorCode.PROTOCOL_ERROR)]
    assert server.take() == frames.rst_stream(1, ErrorCode.PROTOCOL_ERROR)
    assert server.open_streams == 0


@pytest.mark.parametrize(
    "fields",
    [TRAILERS, REQUEST, [(b":status", b"20")], [(b":status", b"abc")], [*ANSWER, (b":status", b"200")]],
    ids=["no status", "request", "short", "letters", "twice"],
)
def test_a_malformed_answer_ends_its_stream_only(fields: list[tuple[bytes, bytes]]) -> None:
    client = peers.client()
    stream_id = client.open_stream(REQUEST)
    client.take()
    assert client.receive(headers(stream_id, fields), 0.0) == [StreamReset(stream_id, ErrorCode.PROTOCOL_ERROR)]
    assert client.take() == frames.rst_stream(stream_id, ErrorCode.PROTOCOL_ERROR)


def test_data_before_the_answer_ends_its_stream_only() -> None:
    client = peers.client()
    stream_id = client.open_stream(REQUEST)
    assert client.receive(data(stream_id, message(b"x")), 0.0) == [StreamReset(stream_id, ErrorCode.PROTOCOL_ERROR)]


def test_interim_answers_are_passed_over() -> None:
    client = peers.client()
    stream_id = client.open_stream(REQUEST)
    interim = headers(stream_id, [(b":status", b"103")])
    assert client.receive(interim + interim + headers(stream_id, ANSWER), 0.0) == [
        HeadersReceived(stream_id, ANSWER, False)
    ]
    other = client.open_stream(REQUEST)
    ended = headers(other, [(b":status", b"103")], frames.END_HEADERS | frames.END_STREAM)
    assert client.receive(ended, 0.0) == [StreamReset(other, ErrorCode.PROTOCOL_ERROR)]


# Streams


def test_streams_beyond_the_limit_are_refused() -> None:
    server = peers.server(SMALL)
    events = server.receive(headers(1) + headers(3) + headers(5) + data(5, message(b"x")), 0.0)
    assert [type(event) for event in events] == [HeadersReceived] * 2
    assert server.take() == frames.rst_stream(5, ErrorCode.REFUSED_STREAM)
    server.receive(frames.rst_stream(1, ErrorCode.CANCEL), 0.0)
    assert server.receive(headers(7), 0.0) == [HeadersReceived(7, REQUEST, False)]


def test_a_client_knows_how_many_streams_it_may_open() -> None:
    client = peers.client(MAX_CONCURRENT_STREAMS=2)
    first, _ = client.open_stream(REQUEST), client.open_stream(REQUEST)
    assert not client.takes_streams
    client.reset(first)
    assert client.takes_streams
    client.receive(frames.settings([(frames.MAX_CONCURRENT_STREAMS, 1)]), 0.0)
    assert not client.takes_streams


def test_numbers_of_streams_run_out() -> None:
    client = peers.client()
    client._streams._next_id = 2**31 - 1
    assert client.takes_streams
    client.open_stream(REQUEST)
    assert not client.takes_streams


def test_a_call_from_beginning_to_end() -> None:
    client, server = peers.client(), peers.server()
    stream_id = client.open_stream(REQUEST)
    assert client.send_message(stream_id, b"question")
    client.end(stream_id)
    assert server.receive(client.take(), 0.0) == [
        HeadersReceived(1, REQUEST, False),
        MessageReceived(1, b"question", False),
        Ended(1, False),
    ]
    server.send_headers(1, ANSWER)
    assert server.send_message(1, b"answer")
    server.end(1, TRAILERS)
    assert server.open_streams == 0
    assert client.receive(server.take(), 0.0) == [
        HeadersReceived(1, ANSWER, False),
        MessageReceived(1, b"answer", False),
        Ended(1, False, TRAILERS),
    ]
    assert client.open_streams == 0
    assert client.take() == b""


def test_a_server_that_ends_first_lets_the_client_say_no_more() -> None:
    client, server = peers.client(), peers.server()
    stream_id = client.open_stream(REQUEST)
    server.receive(client.take(), 0.0)
    server.end(stream_id, ANSWER + TRAILERS)
    sent = server.take()
    assert read_frames(sent)[-1] == peers.Frame(frames.RST_STREAM, 0, stream_id, bytes(4))
    events = client.receive(sent, 0.0)
    assert events == [HeadersReceived(stream_id, ANSWER + TRAILERS, True), Ended(stream_id, False)]
    assert client.open_streams == server.open_streams == 0
    assert client.send_message(stream_id, b"more"), "it is over: nothing waits"
    server.receive(client.take(), 0.0)
    assert not server.failed


def test_a_client_forgets_a_stream_that_the_server_only_ended() -> None:
    client = peers.client()
    stream_id = client.open_stream(REQUEST)
    client.take()
    client.receive(headers(stream_id, ANSWER) + headers(stream_id, TRAILERS, 5), 0.0)
    assert client.open_streams == 0
    assert client.take() == frames.rst_stream(stream_id, ErrorCode.NO_ERROR)


def test_what_is_done_to_a_stream_that_is_over_does_nothing() -> None:
    server = peers.server()
    server.receive(headers(1) + frames.rst_stream(1, ErrorCode.CANCEL), 0.0)
    server.send_headers(1, ANSWER)
    assert server.send_message(1, b"x")
    server.end(1, TRAILERS)
    server.reset(1)
    server.consumed(1, 5)
    assert server.take() == b""


# Messages


@pytest.mark.parametrize("step", [1, 2, 4, 5, 6, 7, 1_000])
def test_messages_are_put_together_from_any_pieces(step: int) -> None:
    server = peers.server()
    server.receive(headers(1), 0.0)
    wanted = [b"", b"a", b"", b"bcd", bytes(300), b""]
    raw = b"".join(message(each) for each in wanted)
    events: list[Event] = []
    for start in range(0, len(raw), step):
        events += server.receive(data(1, raw[start : start + step]), 0.0)
    assert events == [MessageReceived(1, each, False) for each in wanted]
    assert server.receive(data(1, b"", frames.END_STREAM), 0.0) == [Ended(1, False)]


def test_padding_is_taken_off_and_counts_for_the_windows() -> None:
    server = peers.server(SMALL)
    server.receive(headers(1), 0.0)
    padded = b"\xff" + message(b"x") + bytes(255)
    for _ in range(2_000):
        assert server.receive(data(1, padded, frames.PADDED), 0.0) == [MessageReceived(1, b"x", False)]
        server.consumed(1, 1)
    assert {each.kind for each in read_frames(server.take())} == {frames.WINDOW_UPDATE}


def test_the_flag_of_a_compressed_message_is_handed_on() -> None:
    server = peers.server()
    sent = headers(1) + data(1, message(b"x", compressed=1)) + data(1, message(b"y") + message(b"z", compressed=1))
    flags = [event.compressed for event in server.receive(sent, 0.0) if isinstance(event, MessageReceived)]
    assert flags == [True, False, True]


def test_a_message_that_is_too_large_is_told_before_it_has_come() -> None:
    server = peers.server(Limits(max_message_bytes=10))
    sent = headers(1) + data(1, message(b"0123456789") + message(bytes(11))[:7])
    assert server.receive(sent, 0.0)[1:] == [MessageReceived(1, b"0123456789", False), MessageTooLarge(1, 11)]
    for _ in range(100):  # what follows is thrown away, and the window stays open for it
        assert server.receive(data(1, bytes(10_000)), 0.0) == []
    assert server.receive(data(1, b"", frames.END_STREAM), 0.0) == [Ended(1, False)]


def test_an_end_within_a_message_is_told() -> None:
    for part in (b"\0", message(b"0123456789")[:-1]):
        server = peers.server()
        sent = headers(1) + data(1, part, frames.END_STREAM)
        assert server.receive(sent, 0.0)[-1] == Ended(1, True)
    client = peers.client()
    stream_id = client.open_stream(REQUEST)
    sent = headers(stream_id, ANSWER) + data(stream_id, message(b"xy")[:-1]) + headers(stream_id, TRAILERS, 5)
    assert client.receive(sent, 0.0)[-1] == Ended(stream_id, True, TRAILERS)


# Windows


def test_a_message_waits_for_the_window_of_its_stream() -> None:
    client = peers.client(INITIAL_WINDOW_SIZE=10)
    stream_id = client.open_stream(REQUEST)
    client.take()
    assert not client.send_message(stream_id, b"0123456789")
    assert client.take() == data(stream_id, message(b"0123456789")[:10])
    client.end(stream_id)
    assert client.take() == b"", "the end waits behind the message"
    assert client.receive(frames.window_update(stream_id, 4), 0.0) == []
    assert client.take() == data(stream_id, b"5678")
    assert client.receive(frames.window_update(stream_id, 1), 0.0) == [Writable(stream_id)]
    assert client.take() == data(stream_id, b"9") + data(stream_id, b"", frames.END_STREAM)


def test_a_change_of_the_first_window_may_make_windows_negative() -> None:
    client = peers.client(INITIAL_WINDOW_SIZE=100)
    stream_id = client.open_stream(REQUEST)
    assert client.send_message(stream_id, bytes(85))  # 10 are left
    client.receive(frames.settings([(frames.INITIAL_WINDOW_SIZE, 0)]), 0.0)  # now -90
    client.take()
    assert not client.send_message(stream_id, b"x")
    assert client.take() == b""
    assert client.receive(frames.window_update(stream_id, 90), 0.0) == []
    assert client.take() == b""
    assert client.receive(frames.window_update(stream_id, 5), 0.0) == []
    assert client.receive(frames.settings([(frames.INITIAL_WINDOW_SIZE, 1)]), 0.0) == [Writable(stream_id)]
    assert b"".join(each.payload for each in read_frames(client.take()) if each.kind == frames.DATA) == message(b"x")


def test_settings_are_acknowledged_before_they_are_made_use_of() -> None:
    client = peers.client(INITIAL_WINDOW_SIZE=10)
    stream_id = client.open_stream(REQUEST)
    assert not client.send_message(stream_id, b"0123456789")
    client.take()
    client.receive(frames.settings([(frames.INITIAL_WINDOW_SIZE, 100)]), 0.0)
    assert client.take() == frames.frame(frames.SETTINGS, frames.ACK, 0) + data(stream_id, b"56789")


def test_messages_wait_for_the_window_of_the_connection_in_turn() -> None:
    client = peers.client(INITIAL_WINDOW_SIZE=1_000_000)
    first, second, third = (client.open_stream(REQUEST) for _ in range(3))
    client.take()
    assert not client.send_message(first, bytes(65_535))
    assert not client.send_message(second, b"2")
    assert not client.send_message(third, b"3")
    client.take()
    client.receive(frames.settings([(frames.INITIAL_WINDOW_SIZE, 1_000_000)]), 0.0)
    assert client.receive(frames.window_update(0, 5 + 6), 0.0) == [Writable(first), Writable(second)]
    client.reset(third)
    assert client.receive(frames.window_update(0, 100), 0.0) == []


def test_what_waits_is_cut_into_frames_that_the_peer_takes() -> None:
    client = peers.client(INITIAL_WINDOW_SIZE=1_000_000)
    stream_id = client.open_stream(REQUEST)
    client.receive(frames.window_update(0, 1_000_000), 0.0)
    client.take()
    assert client.send_message(stream_id, bytes(40_000))
    assert [len(each.payload) for each in read_frames(client.take())] == [16_384, 16_384, 40_005 - 2 * 16_384]
    client.receive(frames.settings([(frames.FRAME_SIZE, 50_000)]), 0.0)
    client.take()
    assert client.send_message(stream_id, bytes(40_000))
    assert [len(each.payload) for each in read_frames(client.take())] == [40_005]


def test_a_reader_that_stands_still_stops_its_own_stream_only() -> None:
    server = peers.server()
    server.receive(headers(1) + headers(3), 0.0)
    for _ in range(5):
        server.receive(data(1, message(bytes(50_000))), 0.0)
    assert all(each.stream_id == 0 for each in read_frames(server.take())), "nothing was consumed"
    for _ in range(100):
        server.receive(data(3, message(bytes(50_000))), 0.0)
        server.consumed(3, 50_000)
    assert {each.stream_id for each in read_frames(server.take())} == {0, 3}
    for _ in range(5):
        server.consumed(1, 50_000)
    updates = [frames.read_word(each.payload) for each in read_frames(server.take())]
    assert sum(updates) > 5 * 50_000 - 256 * 1024 / 2


def test_empty_messages_use_up_the_window() -> None:
    """Else a peer could fill the memory of a call that does not read."""
    server = peers.server(SMALL)
    server.receive(headers(1), 0.0)
    many = message(b"") * 3_000
    for _ in range(4):
        server.receive(data(1, many), 0.0)
    assert peers.failure(server.receive(data(1, many), 0.0)).code is ErrorCode.FLOW_CONTROL_ERROR


# Going away


def test_a_server_that_goes_away_serves_what_it_has_and_takes_no_more() -> None:
    server = peers.server()
    server.receive(headers(1) + headers(3), 0.0)
    server.go_away()
    server.go_away()
    assert server.take() == frames.goaway(3, ErrorCode.NO_ERROR)
    events = server.receive(headers(5) + data(5, message(b"x")) + data(3, message(b"y")), 0.0)
    assert events == [MessageReceived(3, b"y", False)], "the client knows that 5 is not served"
    assert server.take() == b""
    server.end(3, TRAILERS)
    assert server.open_streams == 1


def test_a_client_ends_what_the_server_will_not_serve() -> None:
    client = peers.client()
    first, second = client.open_stream(REQUEST), client.open_stream(REQUEST)
    assert client.receive(frames.goaway(2**31 - 1, ErrorCode.NO_ERROR), 0.0) == [GoingAway(2**31 - 1, 0, "")]
    assert not client.takes_streams
    assert client.open_streams == 2
    assert client.receive(frames.goaway(first, ErrorCode.NO_ERROR, "why"), 0.0) == [
        GoingAway(first, 0, "why"),
        StreamReset(second, ErrorCode.REFUSED_STREAM),
    ]
    assert client.open_streams == 1


def test_a_client_that_goes_away_may_go_on_meanwhile() -> None:
    """Its GOAWAY is about streams that a server would open."""
    server = peers.server()
    events = server.receive(frames.goaway(0, ErrorCode.NO_ERROR) + headers(1), 0.0)
    assert events == [GoingAway(0, 0, ""), HeadersReceived(1, REQUEST, False)]
    assert server.going_away


# What costs too much

FLOODS = {
    "pings": PING,
    "answers to pings": frames.frame(frames.PING, frames.ACK, 0, bytes(8)),
    "settings": frames.settings([(frames.INITIAL_WINDOW_SIZE, 1)]),
    "acknowledgements": frames.frame(frames.SETTINGS, frames.ACK, 0),
    "priorities": frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
    "unknown frames": frames.frame(99, 0, 0),
    "empty data": data(1, b""),
    "data of padding": data(1, b"\x01x", frames.PADDED),
    "empty data on a stream that is over": data(3, b""),
    "trailers on a stream that is over": headers(3, TRAILERS, 5),
    "window updates": frames.window_update(0, 1),
    "window updates of a stream": frames.window_update(1, 1),
    "window updates of a stream that is over": frames.window_update(3, 1),
    "goodbyes": frames.goaway(0, ErrorCode.NO_ERROR),
    "resets of a stream that is over": frames.rst_stream(3, ErrorCode.CANCEL),
}
BEGINNING = headers(1) + headers(3) + frames.rst_stream(3, ErrorCode.CANCEL)


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_cut_off(name: str) -> None:
    server = peers.server(guard=Guard(burst=20))
    server.receive(BEGINNING, 0.0)
    assert peers.failure(server.receive(FLOODS[name] * 30, 0.0)).code is ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("name", FLOODS)
def test_a_few_now_and_then_are_none(name: str) -> None:
    server = peers.server(guard=Guard(burst=20))
    server.receive(BEGINNING, 0.0)
    for second in range(50):
        server.receive(FLOODS[name] * 5, float(second))
    assert not server.failed


def test_rapid_resets_are_cut_off() -> None:
    server = peers.server()
    raw = b"".join(headers(each) + frames.rst_stream(each, ErrorCode.CANCEL) for each in range(1, 6_001, 2))
    events = server.receive(raw, 0.0)
    assert peers.failure(events).code is ErrorCode.ENHANCE_YOUR_CALM
    assert len(events) < 2_100


def test_a_flood_of_continuations_is_cut_off() -> None:
    server = peers.server(guard=Guard(burst=20))
    sent = headers(1, flags=0) + frames.frame(frames.CONTINUATION, 0, 1) * 30
    assert peers.failure(server.receive(sent, 0.0)).code is ErrorCode.ENHANCE_YOUR_CALM


def test_refused_and_malformed_requests_are_cut_off() -> None:
    for fields, limits in ((REQUEST, Limits(max_streams=0)), ([], Limits())):
        server = peers.server(limits, Guard(burst=20))
        raw = b"".join(headers(each, fields) for each in range(1, 61, 2))
        assert peers.failure(server.receive(raw, 0.0)).code is ErrorCode.ENHANCE_YOUR_CALM


def test_window_updates_for_what_was_sent_are_none() -> None:
    client = peers.client(guard=Guard(burst=5))
    stream_id = client.open_stream(REQUEST)
    for _ in range(500):
        client.send_message(stream_id, b"x")
        client.take()
        client.receive(frames.window_update(0, 6) + frames.window_update(stream_id, 6), 0.0)
    assert not client.failed


def test_ten_thousand_changes_in_one_frame_are_one() -> None:
    server = peers.server()
    server.receive(b"".join(headers(each) for each in range(1, 200, 2)), 0.0)
    for each in range(1, 200, 2):
        server.send_message(each, bytes(100_000))
    server.take()
    values = [(frames.INITIAL_WINDOW_SIZE, 65_535 + number) for number in range(10_000)]
    server.receive(frames.settings(values), 0.0)
    sent = [each for each in read_frames(server.take()) if each.kind == frames.DATA]
    assert len(sent) <= 100


def test_it_says_how_it_is() -> None:
    server = peers.server()
    server.receive(headers(1), 0.0)
    server.send_message(1, bytes(100_000))
    assert repr(server) == "<Connection server, 1 streams, 1 blocked>"
