"""The client's side of RFC 6455, as little as a load generator needs, without I/O.

Owns the opening handshake, masking and finding frame borders. It does not reassemble fragmented messages: none of the
servers measured here fragments, and a fragment is reported as an error rather than miscounted.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha1

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = b64encode(b"lanecast-bench--")
_ACCEPT = b64encode(sha1(_KEY + _GUID, usedforsecurity=False).digest())


class HandshakeError(Exception):
    """The server did not agree to speak WebSocket."""


def upgrade_request(host: str, port: int, path: str, subprotocol: str = "", headers: Iterable[str] = ()) -> bytes:
    """Return the opening handshake of a client."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {_KEY.decode()}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return "\r\n".join([*lines, "", ""]).encode()


def upgrade_end(data: bytes) -> int:
    """Return where the frames begin after the server's answer, or 0 where the answer is not complete yet.

    Raises:
        HandshakeError: the server refused.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = data[:end].decode("latin-1")
    status, *fields = head.split("\r\n")
    if " 101" not in status:
        raise HandshakeError(f"the server answered {status!r} instead of switching to WebSocket")
    accept = [line.split(":", 1)[1].strip() for line in fields if line.lower().startswith("sec-websocket-accept:")]
    if accept != [_ACCEPT.decode()]:
        raise HandshakeError("the server's Sec-WebSocket-Accept does not match the key that was sent")
    return end + 4


def frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """Return one masked frame. The mask is zero, which costs nothing; see `_NO_MASK`."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + _NO_MASK + payload


_NO_MASK = bytes(4)
"""RFC 6455 asks for an unpredictable mask to protect proxies; between two processes of one machine there is none."""


def walk(data: bytes, small: int) -> tuple[int, int, list[tuple[int, bytes]]]:
    """Find the frames in what a server sent.

    Args:
        data: Bytes from the beginning of a frame on.
        small: Data frames with a shorter payload cannot carry an event and are handed out.

    Returns:
        Where the first incomplete frame begins, how many frames are complete, and (first byte, payload) of each
        complete frame that is small, a control frame or a fragment.
    """
    end, position, frames = len(data), 0, 0
    others: list[tuple[int, bytes]] = []
    while end - position >= 2:
        first, length = data[position], data[position + 1]
        start = position + 2
        if length == 126:
            if end - start < 2:
                break
            length = data[start] << 8 | data[start + 1]
            start += 2
        elif length == 127:
            if end - start < 8:
                break
            length = int.from_bytes(data[start : start + 8], "big")
            start += 8
        if start + length > end:
            break
        position = start + length
        frames += 1
        if length < small or first & 0x88 != 0x80:
            others.append((first, data[start:position]))
    return position, frames, others
