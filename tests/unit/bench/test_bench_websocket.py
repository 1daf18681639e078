"""bench.websocket: framing agrees with the websockets library."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from bench import websocket


def server_frame(payload: bytes, opcode: Opcode = Opcode.BINARY, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin=fin).serialize(mask=False)


def test_the_handshake_and_frames_are_understood_by_a_real_server() -> None:
    server = ServerProtocol()
    server.receive_data(websocket.upgrade_request("127.0.0.1", 80, "/v1/ws", headers=("X-Test: yes",)))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    assert request.path == "/v1/ws"
    assert request.headers["X-Test"] == "yes"
    server.send_response(server.accept(request))
    answer = b"".join(server.data_to_send())

    assert websocket.upgrade_end(answer[:-1]) == 0
    assert websocket.upgrade_end(answer + b"rest") == len(answer)

    payloads = [b"", b"a" * 125, b"b" * 126, b"c" * 65535, b"d" * 65536]
    for payload in payloads:
        server.receive_data(websocket.frame(payload))
    assert [event.data for event in server.events_received() if isinstance(event, Frame)] == payloads


def test_a_refused_handshake_says_what_came() -> None:
    with pytest.raises(websocket.HandshakeError, match="403"):
        websocket.upgrade_end(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    with pytest.raises(websocket.HandshakeError, match="Accept"):
        websocket.upgrade_end(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: no\r\n\r\n")


@pytest.mark.parametrize("size", [300, 126, 65535, 65536, 200_000])
def test_walking_stops_at_every_incomplete_frame(size: int) -> None:
    whole = server_frame(b"x" * size)
    assert websocket.walk(whole * 2, 10) == (2 * len(whole), 2, [])
    for cut in (0, 1, 2, 3, 5, 9, len(whole) - 1):
        assert websocket.walk(whole + whole[:cut], 10) == (len(whole), 1, [])


def test_small_control_and_fragmented_frames_are_handed_out() -> None:
    data = b"".join((
        server_frame(b"tiny"),
        server_frame(b"e" * 300),
        server_frame(b"are you there", Opcode.PING),
        server_frame(b"f" * 300, fin=False),
    ))  # fmt: skip
    end, frames, others = websocket.walk(data, 256)
    assert (end, frames) == (len(data), 4)
    assert others == [(0x82, b"tiny"), (0x89, b"are you there"), (0x02, b"f" * 300)]
