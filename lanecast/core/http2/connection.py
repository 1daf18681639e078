"""One HTTP/2 connection that carries gRPC messages, as client or as server.

Owns the life of streams, what each frame means for it, and what a peer may cost. Takes bytes and the time, returns
events; what is to be sent is collected for `take()`. The shells in `lanecast.runtime.wire` own sockets and calls; what
both ways of a connection need is in `reader`, `inflow` and `outflow`, header blocks in `blocks`. Sans-I/O, as `h2` is;
of its own because a message in `h2` costs several times what this one's straight way does (see docs/adr/0018).

Not here, since gRPC does not use it: server push, priorities, upgrades from HTTP/1.1.
"""

from __future__ import annotations

from collections.abc import Callable

from lanecast.core.http2 import fields, frames, settings
from lanecast.core.http2.blocks import HeaderBlocks
from lanecast.core.http2.events import (
    ConnectionFailed,
    Ended,
    Event,
    GoingAway,
    Headers,
    HeadersReceived,
    Pong,
    StreamReset,
    Writable,
)
from lanecast.core.http2.frames import ErrorCode, Http2Error
from lanecast.core.http2.guard import Guard
from lanecast.core.http2.inflow import Inflow
from lanecast.core.http2.limits import Limits
from lanecast.core.http2.outflow import Outflow
from lanecast.core.http2.reader import FrameReader
from lanecast.core.http2.stream import Stream
from lanecast.core.http2.streams import Streams


class Connection:
    """One end of a connection."""

    def __init__(self, *, client: bool, limits: Limits | None = None, guard: Guard | None = None) -> None:
        self.failed = False
        self._client = client
        self._limits = limits or Limits()
        self._guard = guard or Guard()
        self._blocks = HeaderBlocks(self._limits.max_header_bytes)
        self._reader = FrameReader(self._limits.max_frame_bytes, self._on_frame, preface=not client)
        self._outflow = Outflow()
        self._left_here = self._left_there = False  # who has sent a GOAWAY
        self._streams = Streams(self._outflow, self._limits.stream_window_bytes)
        self._open = self._streams.open
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
        if client:
            self._outflow.add(frames.PREFACE)
        self._outflow.add(settings.ours(self._limits, client=client))
        self._inflow = Inflow(self._limits, self._outflow)

    def __repr__(self) -> str:
        role = "client" if self._client else "server"
        return f"<Connection {role}, {len(self._open)} streams, {self._outflow.blocked} blocked>"

    @property
    def settled(self) -> bool:
        """True once the peer has shown that it speaks HTTP/2."""
        return self._reader.settled

    @property
    def open_streams(self) -> int:
        """Streams that are not over."""
        return len(self._open)

    @property
    def going_away(self) -> bool:
        """True once either end has said that it takes no more streams."""
        return self._left_here or self._left_there

    @property
    def takes_streams(self) -> bool:
        """True where another stream may be opened."""
        return not (self.failed or self._left_here or self._left_there) and self._streams.has_room

    @property
    def late_bytes(self) -> int:
        """Bytes of messages, since the beginning, that went out once the peer's windows let them."""
        return self._outflow.late_bytes

    def take(self) -> bytes:
        """Return what is to be sent."""
        return self._outflow.take()

    # What the owner does

    def open_stream(self, headers: Headers) -> int:
        """Begin a call, as a client; return its stream. The caller has asked `takes_streams`."""
        stream_id = self._streams.begin().id
        self._write_headers(stream_id, headers, 0)
        return stream_id

    def send_headers(self, stream_id: int, headers: Headers) -> None:
        """Send the headers that come before any message, as a server."""
        if stream_id in self._open:
            self._write_headers(stream_id, headers, 0)

    def send_message(self, stream_id: int, data: bytes) -> bool:
        """Send a message. False where some of it waits for the peer's window: send more after `Writable`."""
        stream = self._open.get(stream_id)
        if stream is None or stream.ended_here or stream.trailers is not None:
            return True  # it is over, and its end is among the events
        return self._outflow.send(stream, data)

    def end(self, stream_id: int, trailers: Headers | None = None) -> None:
        """Send nothing more on a stream after what waits: a server's trailers, or a client's end."""
        stream = self._open.get(stream_id)
        if stream is None or stream.ended_here or stream.trailers is not None:
            return
        stream.trailers = trailers or []
        if not stream.outgoing:
            self._finish(stream)

    def reset(self, stream_id: int, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Abandon a stream; what waits on it is not sent."""
        if self._streams.drop(stream_id):
            self._outflow.add(frames.rst_stream(stream_id, code))

    def consumed(self, stream_id: int, size: int) -> None:
        """Say that a message of `size` bytes was taken, so that the peer may send on."""
        stream = self._open.get(stream_id)
        if stream is not None:
            self._inflow.consumed(stream, size)

    def ping(self) -> None:
        """Ask the peer whether it is there; see `Pong`."""
        self._outflow.add(frames.frame(frames.PING, 0, 0, b"lanecast"))

    def go_away(self, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """Take no more streams; those that are open go on."""
        if not self._left_here:
            self._left_here = True
            self._outflow.add(frames.goaway(self._streams.served_id, code, text))

    # What the peer does

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take what has come at `now`, in seconds of a monotonic clock; return what it means, in order."""
        if self.failed:
            return []
        self._now = now
        try:
            self._reader.feed(data)
        except Http2Error as error:
            self.failed = True
            self._outflow.add(frames.goaway(self._streams.served_id, error.code, str(error)))
            self._events.append(ConnectionFailed(error.code, str(error)))
        events, self._events = self._events, []
        return events

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        pending = self._blocks.pending
        if pending and (kind != frames.CONTINUATION or stream_id != pending):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "headers were interrupted by another frame")
        handler = self._handlers.get(kind)
        if handler is not None:  # unknown kinds are ignored (section 4.1)
            handler(flags, stream_id, payload)
        else:
            self._charge()

    # Messages

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        stream = self._open.get(stream_id)
        self._inflow.count(stream, len(payload))
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        if not payload and not flags & frames.END_STREAM:
            self._charge()
        if stream is None:
            self._streams.check_known(stream_id)
            return  # what was on its way when the stream was ended here
        if stream.ended_there:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "data after the end of a stream")
        if not stream.begun_there:
            self._fail_stream(stream)
            return
        self._events += self._inflow.messages(stream, payload)
        if flags & frames.END_STREAM:
            self._on_end(stream)
        else:
            self._inflow.grant(stream)

    def _on_end(self, stream: Stream, trailers: Headers | None = None) -> None:
        stream.ended_there = True
        self._events.append(Ended(stream.id, bool(stream.partial), trailers))
        if self._client and not stream.ended_here:
            # The service has answered whatever was still to be said; not every one resets the stream itself.
            self.reset(stream.id, ErrorCode.NO_ERROR)
        self._streams.drop_if_over(stream)

    # Headers

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id % 2:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "clients open streams with odd numbers, and servers none")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload)
        self._on_block(stream_id, self._blocks.begin(flags, stream_id, payload))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._charge()
        self._on_block(stream_id, self._blocks.go_on(flags, stream_id, payload))

    def _on_block(self, stream_id: int, block: tuple[Headers, bool] | None) -> None:
        if block is None:
            return
        headers, ended = block
        stream = self._open.get(stream_id)
        if stream is None:
            if not self._client and stream_id > self._streams.newest_id:
                self._accept(stream_id, headers, ended=ended)
                return
            self._streams.check_known(stream_id)
            self._charge()
        elif stream.ended_there:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "headers after the end of a stream")
        elif stream.begun_there:
            if ended and fields.are_trailers(headers):
                self._on_end(stream, headers)
            else:
                self._fail_stream(stream)
        else:
            self._on_answer(stream, headers, ended=ended)

    def _accept(self, stream_id: int, headers: Headers, *, ended: bool) -> None:
        """Take a client's new stream, or refuse it."""
        self._streams.newest_id = stream_id
        if self._left_here:
            self._charge()
            return  # the client was told that it will not be served
        self._streams.served_id = stream_id
        if not fields.is_request(headers):
            self._refuse(stream_id, ErrorCode.PROTOCOL_ERROR)
        elif len(self._open) >= self._limits.max_streams:
            self._refuse(stream_id, ErrorCode.REFUSED_STREAM)
        else:
            self._on_begin(self._streams.accept(stream_id), headers, ended=ended)

    def _on_answer(self, stream: Stream, headers: Headers, *, ended: bool) -> None:
        if not fields.is_answer(headers):
            self._fail_stream(stream)
        elif not fields.is_interim(headers):
            stream.begun_there = True
            self._on_begin(stream, headers, ended=ended)
        elif ended:
            self._fail_stream(stream)
        else:
            self._charge()

    def _on_begin(self, stream: Stream, headers: Headers, *, ended: bool) -> None:
        self._events.append(HeadersReceived(stream.id, headers, ended))
        if ended:
            self._on_end(stream)

    # Ends

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_size(payload, 4)
        self._streams.check_known(stream_id)
        self._charge()
        if self._streams.drop(stream_id):
            self._events.append(StreamReset(stream_id, frames.read_word(payload)))

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a GOAWAY is of the connection")
        if len(payload) < 8:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY is too short")
        self._charge()
        self._left_there = True
        last_id, code, text = frames.read_goaway(payload)
        self._events.append(GoingAway(last_id, code, text))
        if self._client:  # a server opens no streams that a client could refuse
            for each in [each for each in self._open if each > last_id]:
                self._streams.drop(each)
                self._events.append(StreamReset(each, ErrorCode.REFUSED_STREAM))

    # The connection

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_size(payload, 5)
        if not stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a priority is of a stream")
        self._charge()

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "nothing may be pushed")

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "settings are of the connection")
        self._charge()
        if flags & frames.ACK:
            frames.check_size(payload, 0)
            return
        values = settings.read(payload, of_client=not self._client)
        self._reader.settled = True
        outflow = self._outflow
        streams = self._streams
        streams.peer_max = values.get(frames.MAX_CONCURRENT_STREAMS, streams.peer_max)
        outflow.frame_bytes = values.get(frames.FRAME_SIZE, outflow.frame_bytes)
        if frames.HEADER_TABLE_SIZE in values:
            self._blocks.limit_table(values[frames.HEADER_TABLE_SIZE])
        window = values.get(frames.INITIAL_WINDOW_SIZE, outflow.initial_window)
        more, outflow.initial_window = window - outflow.initial_window, window
        # Before whatever the new window lets go: to the peer the old one holds until it reads this.
        outflow.add(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if more:
            for stream in list(self._open.values()):
                self._widen(stream, more)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_size(payload, 8)
        if stream_id:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "pings are of the connection")
        self._charge()
        if flags & frames.ACK:
            self._events.append(Pong())
        else:
            self._outflow.add(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        frames.check_size(payload, 4)
        if not self._outflow.update_is_free():
            self._charge()
        more = frames.read_word(payload) & frames.MAX_WINDOW
        if not more:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a window was widened by nothing")
        if stream_id:
            self._streams.check_known(stream_id)
            stream = self._open.get(stream_id)
            if stream is not None:
                self._widen(stream, more)
            return
        for stream in self._outflow.widen_all(more):
            self._on_writable(stream)

    # Parts

    def _widen(self, stream: Stream, more: int) -> None:
        if self._outflow.widen(stream, more):
            self._on_writable(stream)

    def _on_writable(self, stream: Stream) -> None:
        """Go on with a stream of which nothing waits any longer."""
        if stream.trailers is not None:
            self._finish(stream)
        self._events.append(Writable(stream.id))

    def _finish(self, stream: Stream) -> None:
        """Write the end of a stream."""
        stream.ended_here = True
        if stream.trailers:
            self._write_headers(stream.id, stream.trailers, frames.END_STREAM)
        else:
            self._outflow.add(frames.frame(frames.DATA, frames.END_STREAM, stream.id))
        if not self._client and not stream.ended_there:
            # The call is over whatever the client still wanted to say (section 8.1).
            self.reset(stream.id, ErrorCode.NO_ERROR)
        self._streams.drop_if_over(stream)

    def _refuse(self, stream_id: int, code: ErrorCode) -> None:
        self._charge()
        self._outflow.add(frames.rst_stream(stream_id, code))

    def _fail_stream(self, stream: Stream) -> None:
        """End a stream whose peer has sent what may not come on it (section 8.1.1)."""
        self._charge()
        self.reset(stream.id, ErrorCode.PROTOCOL_ERROR)
        self._events.append(StreamReset(stream.id, ErrorCode.PROTOCOL_ERROR))

    def _write_headers(self, stream_id: int, headers: Headers, flags: int) -> None:
        for frame in self._blocks.write(stream_id, headers, flags, self._outflow.frame_bytes):
            self._outflow.add(frame)

    def _charge(self) -> None:
        if not self._guard.allows(self._now):
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry nothing")
