"""How gRPC uses HTTP/2 headers (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).

Owns the headers of a call, of its answer and of its end: paths, deadlines, metadata, statuses. Used by the shells in
`lanecast.runtime.wire`; frames and messages are `core.http2`'s. Pure.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

Headers = list[tuple[bytes, bytes]]
Metadata = Sequence[tuple[str, str | bytes]]

CONTENT_TYPE = b"application/grpc"
OK, CANCELLED, UNKNOWN, DEADLINE_EXCEEDED = 0, 1, 2, 4
PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 7, 8, 12, 13, 14, 16

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_KEY = re.compile(r"[0-9a-z_.-]+")
_OURS = {b"te", b"content-type", b"user-agent"}
_BY_HTTP_STATUS = {
    b"400": INTERNAL, b"401": UNAUTHENTICATED, b"403": PERMISSION_DENIED, b"404": UNIMPLEMENTED,
    b"429": UNAVAILABLE, b"502": UNAVAILABLE, b"503": UNAVAILABLE, b"504": UNAVAILABLE,
}  # fmt: skip
_BY_RESET = {7: UNAVAILABLE, 8: CANCELLED, 11: RESOURCE_EXHAUSTED, 12: PERMISSION_DENIED}
"""Codes of gRPC for HTTP/2's codes of a stream that was reset; others are INTERNAL."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a call asks for."""

    path: str
    timeout: float | None
    """Seconds; None: for ever."""
    encoding: str
    """How compressed messages are compressed."""
    metadata: tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    code: int
    message: str
    metadata: tuple[tuple[str, str | bytes], ...] = ()


class RequestError(Exception):
    """The headers are no gRPC call; `status` is the HTTP status to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class MessageError(Exception):
    """A message cannot be read; `code` is the status that the call ends with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def call_headers(
    path: str, authority: str, scheme: str, user_agent: str, timeout: float | None, metadata: Metadata
) -> Headers:
    """Return the headers that begin a call.

    Raises:
        ValueError: a key or value of the metadata may not be sent.
    """
    headers = [
        (b":method", b"POST"), (b":scheme", scheme.encode()), (b":path", path.encode()),
        (b":authority", authority.encode()), (b"te", b"trailers"), (b"content-type", CONTENT_TYPE),
        (b"user-agent", user_agent.encode()),
    ]  # fmt: skip
    if timeout is not None:
        headers.append((b"grpc-timeout", format_timeout(timeout)))
    return headers + encode_metadata(metadata)


def read_call(headers: Headers) -> Request:
    """Return what the headers of a call ask for.

    Raises:
        RequestError: they are not those of a gRPC call.
    """
    fields = dict(headers)
    if fields.get(b":method") != b"POST":
        raise RequestError(405, "gRPC calls are POST requests")
    kind = fields.get(b"content-type", b"")
    if not kind.startswith(CONTENT_TYPE) or kind[len(CONTENT_TYPE) :][:1] not in (b"", b"+", b";"):
        raise RequestError(415, "gRPC calls have the content type application/grpc")
    timeout = fields.get(b"grpc-timeout")
    return Request(
        fields.get(b":path", b"").decode("ascii", "replace"),
        None if timeout is None else parse_timeout(timeout),
        fields.get(b"grpc-encoding", b"identity").decode("ascii", "replace"),
        decode_metadata(headers),
    )


def answer_headers(metadata: Metadata = ()) -> Headers:
    """Return the headers that begin an answer."""
    start = [
        (b":status", b"200"), (b"content-type", CONTENT_TYPE), (b"grpc-accept-encoding", b"identity, deflate, gzip"),
    ]  # fmt: skip
    return start + encode_metadata(metadata)


def refusal_headers(error: RequestError) -> Headers:
    """Return the answer to what is no gRPC call."""
    return [(b":status", str(error.status).encode()), (b"content-type", b"text/plain"), *_status(UNKNOWN, str(error))]


def trailers(code: int, message: str = "", metadata: Metadata = (), *, alone: bool = False) -> Headers:
    """Return what ends an answer; `alone` where no headers were sent before."""
    start: Headers = [(b":status", b"200"), (b"content-type", CONTENT_TYPE)] if alone else []
    return start + _status(code, message) + encode_metadata(metadata)


def read_outcome(headers: Headers) -> Outcome:
    """Return how a call ended, by its trailers, or by headers that are no answer of gRPC."""
    fields = dict(headers)
    code = fields.get(b"grpc-status")
    if code is None:
        status = fields.get(b":status", b"")
        text = f"it answered with HTTP status {status.decode()} and no gRPC status" if status else "no gRPC status"
        return Outcome(_BY_HTTP_STATUS.get(status, UNKNOWN), text)
    message = unquote_to_bytes(fields.get(b"grpc-message", b"")).decode("utf-8", "replace")
    number = int(code) if len(code) <= 2 and code.isdigit() else UNKNOWN
    if number > UNAUTHENTICATED:
        number = UNKNOWN
    return Outcome(number, message, decode_metadata(headers))


def is_answer(headers: Headers) -> bool:
    """Say whether headers begin an answer of gRPC, to which messages and trailers belong."""
    fields = dict(headers)
    return fields.get(b":status") == b"200" and fields.get(b"content-type", b"").startswith(CONTENT_TYPE)


def code_of_reset(code: int) -> int:
    """Return gRPC's code for a stream that was reset with HTTP/2's `code`."""
    return _BY_RESET.get(code, INTERNAL)


def encode_metadata(metadata: Metadata) -> Headers:
    """Return metadata as headers; values of keys that end in `-bin` are bytes.

    Raises:
        ValueError: a key or value may not be sent.
    """
    headers: Headers = []
    for key, value in metadata:
        if not _KEY.fullmatch(key):
            raise ValueError(f"metadata key {key!r}: use lower-case letters, digits, `_`, `-` and `.`")
        if key.endswith("-bin"):
            raw = base64.b64encode(value if isinstance(value, bytes) else value.encode()).rstrip(b"=")
        else:
            raw = value if isinstance(value, bytes) else value.encode()
            if any(not 0x20 <= byte <= 0x7E for byte in raw):
                raise ValueError(f"metadata value of {key!r}: use printable ASCII, or a key that ends in -bin")
        headers.append((key.encode(), raw))
    return headers


def decode_metadata(headers: Headers) -> tuple[tuple[str, str | bytes], ...]:
    """Return the headers that are not the protocol's own."""
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name.startswith((b":", b"grpc-")) and name != b"grpc-status-details-bin":
            continue
        if name in _OURS:
            continue
        key = name.decode("ascii", "replace")
        metadata.append((key, _unbase64(value) if key.endswith("-bin") else value.decode("utf-8", "replace")))
    return tuple(metadata)


def parse_timeout(text: bytes) -> float:
    """Return the seconds of a `grpc-timeout`.

    Raises:
        RequestError: it is none.
    """
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise RequestError(400, "grpc-timeout is at most eight digits and one of H, M, S, m, u, n")
    return int(match[1]) * _UNITS[match[2]]


def format_timeout(seconds: float) -> bytes:
    """Return seconds as a `grpc-timeout`, in the finest unit that has room for it."""
    nanos = max(0, round(seconds * 1e9))
    for unit, size in ((b"n", 1), (b"u", 10**3), (b"m", 10**6), (b"S", 10**9), (b"M", 60 * 10**9)):
        count = -(-nanos // size)  # never shorter than asked for
        if count < 10**8:
            return str(count).encode() + unit
    return b"99999999H"


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """Return a compressed message in plain.

    Raises:
        MessageError: it is not compressed in that way, or has more than `limit` bytes.
    """
    if encoding == "identity":
        raise MessageError(INTERNAL, "a message is marked as compressed, and the call names no compression")
    if encoding not in ("gzip", "deflate"):
        raise MessageError(UNIMPLEMENTED, f"a message is compressed by {encoding!r}: use gzip, deflate or identity")
    machine = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        plain = machine.decompress(data, limit + 1)
    except zlib.error as error:
        raise MessageError(INTERNAL, f"a message is not valid {encoding}") from error
    if len(plain) > limit:
        raise MessageError(RESOURCE_EXHAUSTED, f"a message has more than {limit} bytes")
    if not machine.eof or machine.unused_data:
        raise MessageError(INTERNAL, f"a message is not one whole piece of {encoding}")
    return plain


def _status(code: int, message: str) -> Headers:
    headers = [(b"grpc-status", str(code).encode())]
    if message:
        headers.append((b"grpc-message", _percent(message)))
    return headers


def _percent(text: str) -> bytes:
    """Escape everything but printable ASCII, as the protocol has it."""
    return b"".join(
        bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in text.encode()
    )


def _unbase64(value: bytes) -> bytes:
    """Return the bytes of a `-bin` value: several, joined by commas, make one."""
    try:
        return b"".join(_padded(part) for part in _parts(value))
    except binascii.Error:
        return b""


def _parts(value: bytes) -> Iterable[bytes]:
    return value.split(b",")


def _padded(part: bytes) -> bytes:
    return base64.b64decode(part + b"=" * (-len(part) % 4))
