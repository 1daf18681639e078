"""How gRPC uses headers: calls, answers, ends, deadlines, metadata, compressed messages."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanecast.core import grpc_wire
from lanecast.core.grpc_wire import MessageError, Outcome, RequestError

CALL = grpc_wire.call_headers("/s/M", "host:1", "http", "agent", 1.5, [("x-key", "value"), ("x-bin", b"\0\xff")])


# Calls


def test_a_call_comes_back() -> None:
    request = grpc_wire.read_call(CALL)
    assert request == grpc_wire.Request("/s/M", 1.5, "identity", (("x-key", "value"), ("x-bin", b"\0\xff")))
    assert dict(CALL)[b":authority"] == b"host:1"
    assert dict(CALL)[b"te"] == b"trailers"


def test_a_call_without_a_deadline_has_none() -> None:
    headers = grpc_wire.call_headers("/s/M", "host:1", "https", "agent", None, ())
    assert grpc_wire.read_call(headers).timeout is None
    assert dict(headers)[b":scheme"] == b"https"


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto", b"application/grpc;charset=x"])
def test_content_types_of_grpc_are_taken(kind: bytes) -> None:
    assert grpc_wire.read_call([(b":method", b"POST"), (b"content-type", kind)]).encoding == "identity"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({b":method": b"GET"}, 405),
        ({b"content-type": b"application/grpc-web"}, 415),
        ({b"content-type": b"text/html"}, 415),
        ({b"content-type": b""}, 415),
        ({b"grpc-timeout": b"1"}, 400),
        ({b"grpc-timeout": b"123456789n"}, 400),
        ({b"grpc-timeout": b"-1S"}, 400),
        ({b"grpc-timeout": b"1S\n"}, 400),
    ],
    ids=str,
)
def test_what_is_no_call_is_refused(changed: dict[bytes, bytes], status: int) -> None:
    with pytest.raises(RequestError) as caught:
        grpc_wire.read_call(list({**dict(CALL), **changed}.items()))
    assert caught.value.status == status
    refusal = dict(grpc_wire.refusal_headers(caught.value))
    assert refusal[b":status"] == str(status).encode()
    assert refusal[b"grpc-status"] == b"2"


# Deadlines


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"99999999H", 359999996400),
    ],
)
def test_deadlines_are_read(text: bytes, seconds: float) -> None:
    assert grpc_wire.parse_timeout(text) == pytest.approx(seconds)


@given(st.floats(-10, 1e13))
def test_a_deadline_is_never_shorter_than_asked_for(seconds: float) -> None:
    text = grpc_wire.format_timeout(seconds)
    assert len(text) <= 9
    read = grpc_wire.parse_timeout(text)
    assert read >= min(seconds, 99_999_999 * 3600) * (1 - 1e-9) - 1e-9
    if 0 <= seconds < 1e9:
        assert read <= seconds * 1.001 + 1e-6


# Ends


def test_an_end_comes_back_with_its_message_and_metadata() -> None:
    message = "100 % — naïve\n\0"
    outcome = grpc_wire.read_outcome(
        grpc_wire.trailers(5, message, [("grpc-status-details-bin", b"\x08\x05"), ("k", "v")])
    )
    assert outcome == Outcome(5, message, (("grpc-status-details-bin", b"\x08\x05"), ("k", "v")))


def test_an_end_without_an_answer_begins_like_one() -> None:
    alone = grpc_wire.trailers(12, "no", alone=True)
    assert alone[0] == (b":status", b"200")
    assert grpc_wire.is_answer(alone)
    assert grpc_wire.read_outcome(alone).code == 12


@given(st.text(max_size=200))
def test_any_message_comes_back_in_printable_ascii(message: str) -> None:
    message = message.encode("utf-8", "replace").decode()
    headers = grpc_wire.trailers(3, message)
    raw = dict(headers).get(b"grpc-message", b"")
    assert all(0x20 <= byte <= 0x7E for byte in raw)
    assert grpc_wire.read_outcome(headers).message == message


@pytest.mark.parametrize("code", [b"", b"17", b"99", b"-1", b"x", b"9" * 5_000, b"0x1", "²".encode()], ids=repr)
def test_a_status_that_is_none_is_unknown(code: bytes) -> None:
    assert grpc_wire.read_outcome([(b"grpc-status", code)]).code == grpc_wire.UNKNOWN


@pytest.mark.parametrize(
    ("status", "code"), [(b"400", 13), (b"401", 16), (b"403", 7), (b"404", 12), (b"429", 14), (b"503", 14), (b"418", 2)]
)
def test_an_answer_of_http_is_translated(status: bytes, code: int) -> None:
    headers = [(b":status", status), (b"content-type", b"text/html")]
    assert not grpc_wire.is_answer(headers)
    outcome = grpc_wire.read_outcome(headers)
    assert outcome.code == code
    assert status.decode() in outcome.message


@pytest.mark.parametrize(("reset", "code"), [(0, 13), (2, 13), (7, 14), (8, 1), (11, 8), (12, 7), (999, 13)])
def test_resets_are_translated(reset: int, code: int) -> None:
    assert grpc_wire.code_of_reset(reset) == code


# Metadata


@given(st.lists(st.binary(max_size=50), max_size=4))
def test_bytes_come_back(values: list[bytes]) -> None:
    headers = grpc_wire.encode_metadata([("k-bin", value) for value in values])
    assert not any(value.endswith(b"=") for _, value in headers)
    assert grpc_wire.decode_metadata(headers) == tuple(("k-bin", value) for value in values)


def test_bytes_may_come_padded_and_joined() -> None:
    assert grpc_wire.decode_metadata([(b"k-bin", b"YQ==,Yg")]) == (("k-bin", b"ab"),)
    assert grpc_wire.decode_metadata([(b"k-bin", b"Y")]) == (("k-bin", b""),)


@pytest.mark.parametrize(
    ("key", "value"), [("Key", "x"), ("", "x"), ("a b", "x"), (":path", "x"), ("k", "é"), ("k", "a\r\nb"), ("k", b"\0")]
)
def test_metadata_that_may_not_be_sent_is_refused(key: str, value: str | bytes) -> None:
    with pytest.raises(ValueError, match="metadata"):
        grpc_wire.encode_metadata([(key, value)])


def test_the_protocols_own_headers_are_no_metadata() -> None:
    headers = [*CALL, (b"grpc-encoding", b"gzip"), (b"grpc-status-details-bin", b"CAU")]
    assert [key for key, _ in grpc_wire.decode_metadata(headers)] == ["x-key", "x-bin", "grpc-status-details-bin"]


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=30)), max_size=6))
def test_any_headers_can_be_read(headers: list[tuple[bytes, bytes]]) -> None:
    grpc_wire.decode_metadata(headers)
    grpc_wire.read_outcome(headers)
    grpc_wire.is_answer(headers)
    with contextlib.suppress(RequestError):
        grpc_wire.read_call(headers)


# Compressed messages


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_messages_are_read(encoding: str, compress: object) -> None:
    for plain in (b"", b"x", bytes(1_000)):
        assert grpc_wire.decompress(compress(plain), encoding, 1_000) == plain  # type: ignore[operator]


@pytest.mark.parametrize(
    ("data", "encoding", "code"),
    [
        (gzip.compress(bytes(1_001)), "gzip", grpc_wire.RESOURCE_EXHAUSTED),
        (gzip.compress(bytes(50_000_000)), "gzip", grpc_wire.RESOURCE_EXHAUSTED),
        (gzip.compress(b"abc")[:-1], "gzip", grpc_wire.INTERNAL),
        (gzip.compress(b"abc") + b"x", "gzip", grpc_wire.INTERNAL),
        (zlib.compress(b"abc"), "gzip", grpc_wire.INTERNAL),
        (b"", "gzip", grpc_wire.INTERNAL),
        (b"abc", "identity", grpc_wire.INTERNAL),
        (b"abc", "zstd", grpc_wire.UNIMPLEMENTED),
    ],
    ids=["large", "bomb", "cut", "longer", "other", "empty", "not announced", "unknown"],
)
def test_a_compressed_message_that_cannot_be_read_ends_its_call(data: bytes, encoding: str, code: int) -> None:
    with pytest.raises(MessageError) as caught:
        grpc_wire.decompress(data, encoding, 1_000)
    assert caught.value.code == code
