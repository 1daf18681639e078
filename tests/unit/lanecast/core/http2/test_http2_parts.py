"""The parts of a connection by themselves: frames, guard, limits, streams' messages, header blocks, both ways."""

from __future__ import annotations

import peers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core.http2 import fields, frames, settings
from lanecast.core.http2.blocks import HeaderBlocks
from lanecast.core.http2.frames import ErrorCode, Http2Error
from lanecast.core.http2.guard import BURST, PER_SECOND, Guard
from lanecast.core.http2.inflow import Inflow
from lanecast.core.http2.limits import Limits
from lanecast.core.http2.outflow import Outflow
from lanecast.core.http2.reader import FrameReader
from lanecast.core.http2.stream import Stream, TooLargeError
from lanecast.core.http2.streams import Streams

# Frames


def test_frames_are_laid_out_as_the_standard_says() -> None:
    assert frames.frame(frames.PING, frames.ACK, 0, b"8 bytes!") == bytes.fromhex("000008 06 01 00000000") + b"8 bytes!"
    assert frames.window_update(3, 0x1234) == bytes.fromhex("000004 08 00 00000003 00001234")
    assert frames.rst_stream(5, ErrorCode.CANCEL) == bytes.fromhex("000004 03 00 00000005 00000008")
    assert frames.settings([(4, 65_535)]) == bytes.fromhex("000006 04 00 00000000 0004 0000ffff")
    assert frames.goaway(7, ErrorCode.NO_ERROR, "é") == bytes.fromhex("00000a 07 00 00000000 00000007 00000000 c3a9")
    assert frames.message_start(1, 0x012345) == bytes.fromhex("01234a 00 00 00000001 00 00012345")


@given(st.binary(min_size=8, max_size=40))
def test_any_goaway_can_be_read(payload: bytes) -> None:
    last_id, code, text = frames.read_goaway(payload)
    assert 0 <= last_id <= frames.MAX_WINDOW
    assert 0 <= code < 2**32
    assert isinstance(text, str)


@given(st.lists(st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1))))
def test_settings_come_back(values: list[tuple[int, int]]) -> None:
    assert frames.read_settings(frames.settings(values)[9:]) == values


@given(st.binary(max_size=30), st.integers(0, 255))
def test_padding_comes_off(payload: bytes, padding: int) -> None:
    assert frames.unpadded(bytes((padding,)) + payload + bytes(padding)) == payload


# What a peer may cost


def test_a_burst_and_a_rate_are_allowed() -> None:
    guard = Guard()
    assert [guard.allows(5.0) for _ in range(BURST + 1)] == [True] * BURST + [False]
    guard = Guard(burst=2, per_second=10)
    assert [guard.allows(now) for now in (0.0, 0.0, 0.05, 0.3, 0.3, 0.3)] == [True, True, False, True, True, False]
    assert PER_SECOND >= 50, "gRPC's own clients measure the bandwidth with pings"


def test_a_clock_that_goes_back_gives_nothing() -> None:
    guard = Guard(burst=1, per_second=10)
    assert guard.allows(100.0)
    assert not guard.allows(0.0)
    assert guard.allows(0.3)


@pytest.mark.parametrize(
    "values",
    [
        {"stream_window_bytes": 65_534},
        {"connection_window_bytes": 1},
        {"connection_window_bytes": 2**31},
        {"max_frame_bytes": 16_383},
        {"max_frame_bytes": 2**24},
    ],
    ids=str,
)
def test_limits_that_no_peer_could_keep_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="use "):
        Limits(**values)


# Settings


def test_each_end_says_what_is_its_own() -> None:
    limits = Limits(max_streams=7)
    of_server = dict(frames.read_settings(settings.ours(limits, client=False)[9:]))
    of_client = dict(frames.read_settings(settings.ours(limits, client=True)[9:]))
    assert of_server[frames.MAX_CONCURRENT_STREAMS] == 7
    assert frames.ENABLE_PUSH not in of_server
    assert of_client[frames.ENABLE_PUSH] == 0
    assert frames.MAX_CONCURRENT_STREAMS not in of_client


def test_the_last_value_of_a_setting_counts() -> None:
    values = [(frames.FRAME_SIZE, 20_000), (0x77, 1), (frames.FRAME_SIZE, 30_000)]
    assert settings.read(frames.settings(values)[9:], of_client=True) == {frames.FRAME_SIZE: 30_000, 0x77: 1}
    assert settings.read(b"", of_client=True) == {}


def test_only_a_client_may_allow_pushes() -> None:
    allowed = frames.settings([(frames.ENABLE_PUSH, 1)])[9:]
    assert settings.read(allowed, of_client=True) == {frames.ENABLE_PUSH: 1}
    with pytest.raises(Http2Error, match="ENABLE_PUSH"):
        settings.read(allowed, of_client=False)


# From bytes to frames


@given(st.lists(st.binary(max_size=60), max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_frames_come_whole_however_they_are_split(payloads: list[bytes], steps: list[int]) -> None:
    found: list[bytes] = []
    reader = FrameReader(16_384, lambda kind, flags, stream_id, payload: found.append(payload), preface=True)
    reader.settled = True
    raw = frames.PREFACE + b"".join(frames.frame(frames.DATA, 0, 1, each) for each in payloads)
    while raw:
        steps.append(steps.pop(0))
        reader.feed(raw[: steps[0]])
        raw = raw[steps[0] :]
    assert found == payloads


def test_a_frame_that_is_too_large_is_refused_by_its_header() -> None:
    reader = FrameReader(16_384, lambda *_: None, preface=False)
    reader.settled = True
    with pytest.raises(Http2Error, match="16385 bytes: send at most 16384") as caught:
        reader.feed(frames.header(frames.DATA, 0, 1, 16_385))
    assert caught.value.code is ErrorCode.FRAME_SIZE_ERROR


# Messages


@given(st.lists(st.binary(max_size=50), max_size=10), st.lists(st.integers(1, 80), min_size=1))
def test_messages_come_whole_however_they_are_split(messages: list[bytes], steps: list[int]) -> None:
    stream = Stream(1, 0, 65_535, begun_there=True)
    raw = b"".join(peers.message(each) for each in messages)
    found: list[tuple[bytes, bool]] = []
    while raw:
        steps.append(steps.pop(0))
        found += stream.feed(raw[: steps[0]], 50)
        raw = raw[steps[0] :]
    assert found == [(each, False) for each in messages]
    assert not stream.partial
    assert stream.held == sum(len(each) + 5 for each in messages)


@pytest.mark.parametrize("whole", [True, False])
def test_a_message_beyond_the_limit_keeps_those_before_it(whole: bool) -> None:
    stream = Stream(1, 0, 65_535, begun_there=True)
    raw = peers.message(b"first") + peers.message(bytes(21))
    with pytest.raises(TooLargeError) as caught:
        stream.feed(raw if whole else raw[:15], 20)
    assert caught.value.size == 21
    assert caught.value.before == [(b"first", False)]
    assert stream.feed(peers.message(b"second"), 20) == []


# Both ways


def outflow(window: int) -> tuple[Outflow, Stream]:
    made = Outflow()
    made.initial_window = window
    return made, Stream(1, window, 65_535, begun_there=True)


def test_a_message_with_room_goes_in_one_frame() -> None:
    out, stream = outflow(100)
    assert out.send(stream, bytes(95))
    assert out.take() == peers.data(1, peers.message(bytes(95)))
    assert stream.send_window == 0
    assert out.take() == b""
    assert out.late_bytes == 0


def test_messages_keep_their_order_while_they_wait() -> None:
    out, stream = outflow(10)
    assert not out.send(stream, b"123456")
    assert not out.send(stream, b"")
    assert out.blocked == 1
    assert out.widen(stream, 100)
    sent = b"".join(each.payload for each in peers.read_frames(out.take()))
    assert sent == peers.message(b"123456") + peers.message(b"")
    assert out.blocked == 0
    assert out.late_bytes == 16


def test_the_updates_that_are_free_are_those_that_were_earned() -> None:
    out, stream = outflow(100)
    assert not out.update_is_free()
    out.send(stream, b"x")
    out.take()
    assert [out.update_is_free() for _ in range(5)] == [True] * 4 + [False]


def test_a_window_opens_again_once_half_of_it_is_used() -> None:
    out = Outflow()
    inflow = Inflow(Limits(stream_window_bytes=65_535, connection_window_bytes=65_535), out)
    stream = Stream(1, 0, 65_535, begun_there=True)
    for _ in range(4):
        inflow.count(stream, 10_000)
        inflow.messages(stream, peers.message(bytes(9_995)))
    assert out.take() == frames.window_update(0, 40_000)
    for _ in range(3):
        inflow.consumed(stream, 9_995)
    assert out.take() == b""
    inflow.consumed(stream, 9_995)
    assert out.take() == frames.window_update(1, 40_000)
    assert stream.receive_window == 65_535


def test_half_a_message_does_not_stop_its_stream() -> None:
    """A message may be larger than the window: what has come of it must not count as waiting."""
    out = Outflow()
    inflow = Inflow(Limits(stream_window_bytes=65_535), out)
    stream = Stream(1, 0, 65_535, begun_there=True)
    raw = peers.message(bytes(1_000_000))
    out.take()
    for start in range(0, len(raw), 16_384):
        part = raw[start : start + 16_384]
        inflow.count(stream, len(part))
        inflow.messages(stream, part)
        inflow.grant(stream)
    assert stream.receive_window < 65_535
    assert stream.held == 1_000_005


def test_numbers_of_streams_grow() -> None:
    streams = Streams(Outflow(), 65_535)
    assert [streams.begin().id for _ in range(3)] == [1, 3, 5]
    assert streams.drop(3)
    assert not streams.drop(3)
    streams.check_known(3)
    for unknown in (0, 2, 7):
        with pytest.raises(Http2Error, match="never opened"):
            streams.check_known(unknown)
    streams.peer_max = 2
    assert not streams.has_room


# Headers


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-_.0123456789", min_size=1, max_size=20).map(str.encode)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=12)


@given(st.lists(FIELDS, min_size=1, max_size=4), st.integers(1, 60), st.integers(0, 8_000))
def test_blocks_come_back_through_both_tables(lists: list[list[tuple[bytes, bytes]]], largest: int, table: int) -> None:
    writer, reader = HeaderBlocks(100_000), HeaderBlocks(100_000)
    writer.limit_table(table)
    for wanted in lists:
        found = None
        for frame in writer.write(1, wanted, frames.END_STREAM, largest):
            assert found is None
            sent = peers.read_frames(frame)[0]
            take = reader.begin if sent.kind == frames.HEADERS else reader.go_on
            found = take(sent.flags, 1, sent.payload)
        assert found == (wanted, True)


@given(st.binary(max_size=200))
def test_any_block_is_read_or_refused(block: bytes) -> None:
    blocks = HeaderBlocks(1_000)
    try:
        blocks.begin(frames.END_HEADERS, 1, block)
    except Http2Error as error:
        assert error.code in (ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM)  # noqa: PT017


@given(FIELDS)
def test_any_fields_can_be_judged(found: list[tuple[bytes, bytes]]) -> None:
    fields.is_request(found)
    fields.is_answer(found)
    fields.are_trailers(found)


def test_trailers_have_ordinary_fields_only() -> None:
    assert fields.are_trailers([])
    assert fields.are_trailers([(b"grpc-status", b"0")])
    assert not fields.are_trailers([(b":status", b"200")])
