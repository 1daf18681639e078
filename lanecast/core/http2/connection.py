"""One HTTP/2 connection that carries gRPC messages, as client or as server.

Owns framing, header compression, settings, both levels of flow control, the life of streams, and what a peer may cost.
Takes bytes and the time, returns events; what is to be sent is collected for `take()`. The shells in
`lanecast.runtime.wire` own sockets and calls. Sans-I/O, as `h2` is; of its own because a message in `h2` costs several
times what this one's straight way does (see docs/adr/0018). HPACK is `hpack`'s.

Not here, since gRPC does not use it: server push, priorities, upgrades from HTTP/1.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import hpack

from lanecast.core.http2 import frames
from lanecast.core.http2.events import (
    ConnectionFailed,
    Ended,
    Event,
    GoingAway,
    Headers,
    HeadersReceived,
    MessageReceived,
    MessageTooLarge,
    Pong,
    StreamReset,
    Writable,
)
from lanecast.core.http2.frames import ErrorCode, Http2Error
from lanecast.core.http2.guard import Guard
from lanecast.core.http2.stream import PREFIX_BYTES, Stream, TooLargeError


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer may use."""

    max_message_bytes: int = 4 * 1024 * 1024
    """Largest gRPC message that is taken."""
    stream_window_bytes: int = 256 * 1024
    """Bytes of a stream that may wait for its reader."""
    connection_window_bytes: int = 4 * 1024 * 1024
    """Bytes on the way for all streams."""
    max_frame_bytes: int = 64 * 1024
    """Largest payload of a frame that is taken; most messages fit into one."""
    max_header_bytes: int = 16 * 1024
    """Headers of a call, uncompressed."""
    max_streams: int = 128
    """Calls that a client may have open on a connection."""


class Connection:
    """One end of a connection."""

    def __init__(self, *, client: bool, limits: Limits | None = None, guard: Guard | None = None) -> None:
        self.failed = False
        self.going_away = False
        """True once either end has said that it takes no more streams."""
        self._client = client
        self._limits = limits or Limits()
        self._guard = guard or Guard()
        self._out: list[bytes] = []
        self._rest = b""
        self._greeted = client  # a server gets the preface first
        self._settled = False
        self._streams: dict[int, Stream] = {}
        self._blocked: dict[int, Stream] = {}
        self._last_id = 0
        self._next_id = 1
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder(max_header_list_size=self._limits.max_header_bytes)
        self._block: tuple[int, int, bytearray] | None = None
        self._send_window = frames.DEFAULT_WINDOW
        self._receive_window = self._limits.connection_window_bytes
        self._peer_window = frames.DEFAULT_WINDOW
        self._peer_frame_bytes = frames.MIN_FRAME_BYTES
        self._peer_max_streams = frames.MAX_WINDOW
        self._events: list[Event] = []
        self._now = 0.0
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_rst_stream,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._on_continuation,
        }
        self._begin()

    def __repr__(self) -> str:
        role = "client" if self._client else "server"
        return f"<Connection {role}, {len(self._streams)} streams, {len(self._blocked)} blocked>"

    @property
    def settled(self) -> bool:
        """True once the peer has shown that it speaks HTTP/2."""
        return self._settled

    @property
    def open_streams(self) -> int:
        """Streams that are not over."""
        return len(self._streams)

    @property
    def takes_streams(self) -> bool:
        """True where another stream may be opened."""
        return not (self.failed or self.going_away) and len(self._streams) < self._peer_max_streams

    def take(self) -> bytes:
        """Return what is to be sent."""
        out = self._out
        if not out:
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    # What the owner does

    def open_stream(self, headers: Headers) -> int:
        """Begin a call, as a client; return its stream. The caller has asked `takes_streams`."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = Stream(stream_id, self._peer_window, self._limits.stream_window_bytes)
        self._write_headers(stream_id, headers, 0)
        return stream_id

    def send_headers(self, stream_id: int, headers: Headers) -> None:
        """Send the headers that come before any message, as a server."""
        if stream_id in self._streams:
            self._write_headers(stream_id, headers, 0)

    def send_message(self, stream_id: int, data: bytes) -> bool:
        """Send a message. False where some of it waits for the peer's window: send more after `Writable`."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended_here or stream.trailers is not None:
            return True  # it is over, and its end is among the events
        size = len(data) + PREFIX_BYTES
        if (
            not stream.outgoing
            and size <= stream.send_window
            and size <= self._send_window
            and size <= self._peer_frame_bytes
        ):
            self._out += (frames.message_start(stream_id, len(data)), data)
            stream.send_window -= size
            self._send_window -= size
            return True
        stream.outgoing.append(b"\0" + len(data).to_bytes(4, "big") + data)
        return self._flush(stream)

    def end(self, stream_id: int, trailers: Headers | None = None) -> None:
        """Send nothing more on a stream after what waits: a server's trailers, or a client's end."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended_here or stream.trailers is not None:
            return
        stream.trailers = trailers or []
        if not stream.outgoing:
            self._finish(stream)

    def reset(self, stream_id: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Abandon a stream; what waits on it is not sent."""
        if self._streams.pop(stream_id, None) is not None:
            self._blocked.pop(stream_id, None)
            self._out.append(frames.rst_stream(stream_id, code))

    def consumed(self, stream_id: int, size: int) -> None:
        """Say that a message of `size` bytes was taken, so that the peer may send on."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.held -= size
            self._grant(stream)

    def ping(self) -> None:
        """Ask the peer whether it is there; see `Pong`."""
        self._out.append(frames.frame(frames.PING, 0, 0, b"lanecast"))

    def go_away(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Take no more streams; those that are open go on."""
        if not self.going_away:
            self.going_away = True
            self._out.append(frames.goaway(self._last_id, code, text))

    # What the peer does

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take what has come at `now`, in seconds of a monotonic clock; return what it means, in order."""
        if self.failed:
            return []
        self._now = now
        buffer = self._rest + data if self._rest else data
        try:
            used = self._greet(buffer) if not self._greeted else 0
            if self._greeted:
                used = self._parse(buffer, used)
            self._rest = buffer[used:] if used < len(buffer) else b""
        except Http2Error as error:
            self.failed = True
            self._out.append(frames.goaway(self._last_id, error.code, str(error)))
            self._events.append(ConnectionFailed(error.code, str(error)))
        events, self._events = self._events, []
        return events

    def _begin(self) -> None:
        limits = self._limits
        values = [
            (frames.INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
            (frames.FRAME_SIZE, limits.max_frame_bytes),
            (frames.MAX_HEADER_LIST_SIZE, limits.max_header_bytes),
        ]
        if self._client:
            self._out.append(frames.PREFACE)
            values.append((frames.ENABLE_PUSH, 0))
        else:
            values.append((frames.MAX_CONCURRENT_STREAMS, limits.max_streams))
        self._out.append(frames.settings(values))
        self._out.append(frames.window_update(0, limits.connection_window_bytes - frames.DEFAULT_WINDOW))

    def _greet(self, data: bytes) -> int:
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "this is a gRPC service: speak HTTP/2")
        if len(data) < len(frames.PREFACE):
            return 0
        self._greeted = True
        return len(frames.PREFACE)

    def _parse(self, data: bytes, start: int) -> int:
        """Handle the whole frames of `data` from `start` on; return where the rest begins."""
        unpack = frames.HEADER.unpack_from
        largest = self._limits.max_frame_bytes
        end = len(data)
        while end - start >= frames.HEADER_BYTES:
            high, low, kind, flags, stream_id = unpack(data, start)
            size = high << 8 | low
            if size > largest:
                raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes: send at most {largest}")
            stop = start + frames.HEADER_BYTES + size
            if stop > end:
                break
            self._on_frame(kind, flags, stream_id & frames.MAX_WINDOW, data[start + frames.HEADER_BYTES : stop])
            start = stop
        return start

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if not self._settled and kind != frames.SETTINGS:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the first frame must be SETTINGS")
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block[0]):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "headers were interrupted by another frame")
        handler = self._handlers.get(kind)
        if handler is not None:  # unknown kinds are ignored (section 4.1)
            handler(flags, stream_id, payload)
        else:
            self._charge()

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window allows")
        window = self._limits.connection_window_bytes
        if self._receive_window * 2 <= window:
            self._out.append(frames.window_update(0, window - self._receive_window))
            self._receive_window = window
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_known(stream_id)
            return  # what was on its way when the stream was ended here
        if stream.ended_there:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "data after the end of a stream")
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "more data than the stream's window allows")
        if not size and not flags & frames.END_STREAM:
            self._charge()
        self._feed(stream, _unpadded(payload) if flags & frames.PADDED else payload)
        if flags & frames.END_STREAM:
            self._ended(stream)
        else:
            self._grant(stream)

    def _feed(self, stream: Stream, data: bytes) -> None:
        try:
            messages = stream.feed(data, self._limits.max_message_bytes)
        except TooLargeError as error:
            self._events.append(MessageTooLarge(stream.id, error.size))
            return
        for message, compressed in messages:
            self._events.append(MessageReceived(stream.id, message, compressed))

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.WITH_PRIORITY:
            payload = payload[5:]
        self._collect(flags, stream_id, flags & frames.END_STREAM, bytearray(payload))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        _, ended, block = self._block
        block += payload
        self._charge()
        self._collect(flags, stream_id, ended, block)

    def _collect(self, flags: int, stream_id: int, ended: int, block: bytearray) -> None:
        if len(block) > self._limits.max_header_bytes:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too long")
        if not flags & frames.END_HEADERS:
            self._block = (stream_id, ended, block)
            return
        self._block = None
        try:
            headers = [(name, value) for name, value in self._decoder.decode(bytes(block), raw=True)]
        except hpack.OversizedHeaderListError as error:
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "the headers are too long") from error
        except hpack.HPACKError as error:
            raise Http2Error(ErrorCode.COMPRESSION_ERROR, "the headers cannot be read") from error
        self._on_header_list(stream_id, headers, ended=bool(ended))

    def _on_header_list(self, stream_id: int, headers: Headers, *, ended: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            if self._client or stream_id <= self._last_id:
                self._check_known(stream_id)
                self._charge()
                return
            stream = self._accept(stream_id)
            if stream is None:
                return
        elif stream.ended_there:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "headers after the end of a stream")
        self._events.append(HeadersReceived(stream_id, headers, ended))
        if ended:
            self._ended(stream)

    def _accept(self, stream_id: int) -> Stream | None:
        """Take a client's new stream, or refuse it."""
        if not stream_id % 2:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "clients open streams with odd numbers")
        if self.going_away:
            return None  # the client was told that it will not be served
        self._last_id = stream_id
        if len(self._streams) >= self._limits.max_streams:
            self._charge()
            self._out.append(frames.rst_stream(stream_id, ErrorCode.REFUSED_STREAM))
            return None
        stream = Stream(stream_id, self._peer_window, self._limits.stream_window_bytes)
        self._streams[stream_id] = stream
        return stream

    def _ended(self, stream: Stream) -> None:
        stream.ended_there = True
        self._events.append(Ended(stream.id, bool(stream.partial)))
        self._forget_if_over(stream)

    def _on_priority(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        self._charge()

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "nothing may be pushed")

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_size(payload, 4)
        self._check_known(stream_id)
        self._charge()
        if self._streams.pop(stream_id, None) is not None:
            self._blocked.pop(stream_id, None)
            self._events.append(StreamReset(stream_id, frames.read_word(payload)))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "settings are of the connection")
        if flags & frames.ACK:
            _check_size(payload, 0)
            return
        if len(payload) % 6:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "settings have 6 bytes each")
        self._charge()
        self._settled = True
        for key, value in frames.read_settings(payload):
            self._apply(key, value)
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _apply(self, key: int, value: int) -> None:
        if key == frames.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the initial window is too large")
            more, self._peer_window = value - self._peer_window, value
            for stream in list(self._streams.values()):
                self._widen(stream, more)
        elif key == frames.FRAME_SIZE:
            if not frames.MIN_FRAME_BYTES <= value <= frames.MAX_FRAME_BYTES:
                raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the frame size is out of range")
            self._peer_frame_bytes = value
        elif key == frames.HEADER_TABLE_SIZE:
            self._encoder.header_table_size = min(value, 4096)
        elif key == frames.MAX_CONCURRENT_STREAMS:
            self._peer_max_streams = value

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        _check_size(payload, 8)
        if stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "pings are of the connection")
        if flags & frames.ACK:
            self._events.append(Pong())
            return
        self._charge()
        self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_goaway(self, _flags: int, _stream_id: int, payload: bytes) -> None:
        if len(payload) < 8:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY is too short")
        self._charge()
        self.going_away = True
        self._events.append(GoingAway(*frames.read_goaway(payload)))

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        _check_size(payload, 4)
        more = frames.read_word(payload) & frames.MAX_WINDOW
        if not more:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a window was widened by nothing")
        if stream_id:
            self._check_known(stream_id)
            stream = self._streams.get(stream_id)
            if stream is not None:
                self._widen(stream, more)
            return
        self._send_window += more
        if self._send_window > frames.MAX_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is too large")
        for stream in list(self._blocked.values()):
            self._resume(stream)

    # Parts

    def _widen(self, stream: Stream, more: int) -> None:
        stream.send_window += more
        if stream.send_window > frames.MAX_WINDOW:
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is too large")
        if stream.id in self._blocked:
            self._resume(stream)

    def _resume(self, stream: Stream) -> None:
        if self._flush(stream):
            self._events.append(Writable(stream.id))

    def _flush(self, stream: Stream) -> bool:
        """Send what waits on a stream as far as the windows reach; say whether all of it went."""
        outgoing = stream.outgoing
        while outgoing:
            room = min(stream.send_window, self._send_window, self._peer_frame_bytes)
            if room <= 0:
                self._blocked[stream.id] = stream
                return False
            chunk = outgoing.popleft()
            if len(chunk) > room:
                outgoing.appendleft(chunk[room:])
                chunk = chunk[:room]
            self._out.append(frames.frame(frames.DATA, 0, stream.id, chunk))
            stream.send_window -= len(chunk)
            self._send_window -= len(chunk)
        self._blocked.pop(stream.id, None)
        if stream.trailers is not None:
            self._finish(stream)
        return True

    def _finish(self, stream: Stream) -> None:
        """Write the end of a stream."""
        stream.ended_here = True
        if stream.trailers:
            self._write_headers(stream.id, stream.trailers, frames.END_STREAM)
        else:
            self._out.append(frames.frame(frames.DATA, frames.END_STREAM, stream.id))
        if not self._client and not stream.ended_there:
            # The call is over whatever the client still wanted to say (section 8.1).
            self.reset(stream.id, ErrorCode.NO_ERROR)
        self._forget_if_over(stream)

    def _forget_if_over(self, stream: Stream) -> None:
        if stream.ended_here and stream.ended_there:
            self._streams.pop(stream.id, None)

    def _write_headers(self, stream_id: int, headers: Headers, flags: int) -> None:
        block = self._encoder.encode(headers)
        largest = self._peer_frame_bytes
        kind = frames.HEADERS
        while len(block) > largest:
            self._out.append(frames.frame(kind, flags, stream_id, block[:largest]))
            block, kind, flags = block[largest:], frames.CONTINUATION, 0
        self._out.append(frames.frame(kind, flags | frames.END_HEADERS, stream_id, block))

    def _grant(self, stream: Stream) -> None:
        more = stream.owed()
        if more:
            stream.receive_window += more
            self._out.append(frames.window_update(stream.id, more))

    def _check_known(self, stream_id: int) -> None:
        """Refuse to hear of a stream that was never opened."""
        newest = self._next_id - 2 if self._client else self._last_id
        if not stream_id or (stream_id > newest and not self.going_away):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} was never opened")

    def _charge(self) -> None:
        if not self._guard.allows(self._now):
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry nothing")


def _unpadded(payload: bytes) -> bytes:
    padding = payload[0] if payload else 0
    if padding >= len(payload):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame is all padding")
    return payload[1 : len(payload) - padding]


def _check_size(payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, f"the frame has {len(payload)} bytes instead of {size}")
