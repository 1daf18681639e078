"""One client connection, from `hello` to the close.

Owns who the client is, what it may do and what it is told. Called by the connection's shell with parsed commands and by
the hub with answers; writes through its outbox. A bad command costs its sender an `error` frame, or the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway_svc.core import frames
from gateway_svc.core.backlog import Totals
from gateway_svc.core.commands import CommandError, parse
from gateway_svc.core.limits import MAX_LAST_N, SessionLimits, TokenBucket
from gateway_svc.core.outbox import Outbox
from gateway_svc.core.ports import Identity, Sink, Verify
from gateway_svc.core.subscription import Reader, Subscription, Wanted
from lanecast.core import codes
from lanecast.core.channel import check_channel
from lanecast.core.codes import Code
from lanecast.core.position import Position
from lanecast.core.priority import LANES, Priority
from lanecast.errors import TokenError
from lanecast.v1.event_pb2 import LanePosition
from lanecast.v1.gateway_pb2 import (
    ClientFrame,
    Drain,
    Hello,
    Ping,
    Pong,
    Receipt,
    RefreshToken,
    ServerFrame,
    Subscribe,
    Subscribed,
    TokenRefreshed,
    Unsubscribe,
    Unsubscribed,
    Welcome,
)  # fmt: skip
from lanecast.v1.gateway_pb2 import (
    SessionLimits as LimitsMessage,
)
from lanecast.v1.publisher_pb2 import START_LAST_N

_KNOWN_LANES = frozenset(int(lane) for lane in LANES)
MISSED_PINGS = 2
"""Unanswered pings after which the connection is closed."""

MAX_PROBES = 8
"""Pings that a client may ask for within a heartbeat."""


class Fanout(Protocol):
    """What a session asks of the hub."""

    def subscribe(self, session: Session, name: str, lanes: Sequence[Priority], wanted: Wanted) -> None:
        """Subscribe; see `Hub.subscribe`."""

    def unsubscribe(self, session: Session, name: str) -> bool:
        """Unsubscribe; see `Hub.unsubscribe`."""

    def leave(self, session: Session) -> None:
        """Forget the session; see `Hub.leave`."""

    def room(self, session: Session) -> None:
        """Go on; see `Hub.room`."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions of a process share."""

    limits: SessionLimits
    heartbeat_seconds: float
    verify: Verify
    now_ns: Callable[[], int]
    """Wall clock, nanoseconds since the Unix epoch."""
    now: Callable[[], float]
    """Monotonic clock, seconds."""
    totals: Totals
    on_receipt: Callable[[Receipt], None]
    on_token: Callable[[Session], None]
    """Called when a session got a token, at first and at each refresh."""


class Session:
    """The state of one connection."""

    __slots__ = (
        "_bucket", "_context", "_fanout", "_identity", "_ping", "_probes",
        "_sink", "binary", "client", "closed", "id", "outbox",
        "spooled", "subscriptions", "unanswered",
    )  # fmt: skip

    def __init__(self, session_id: str, sink: Sink, fanout: Fanout, context: SessionContext, *, binary: bool) -> None:
        self.id = session_id
        self.binary = binary
        self.client = ""
        self.closed = False
        self.outbox = Outbox(sink, context.limits, context.totals, context.now, binary=binary)
        self.subscriptions: dict[str, Subscription] = {}
        self.spooled: dict[Reader, None] | None = None
        """Readers that wait for the outbox to empty."""
        self.unanswered = 0
        """Pings without an answer."""
        self._sink = sink
        self._fanout = fanout
        self._context = context
        self._identity: Identity | None = None
        self._bucket: TokenBucket | None = None
        self._ping = Ping()
        self._probes = 0

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self._identity else "new"
        return f"Session({self.id}, {state}, subscriptions={len(self.subscriptions)})"

    @property
    def subject(self) -> str:
        """Whom the token speaks for; empty before `hello`."""
        return self._identity.subject if self._identity else ""

    @property
    def authenticated(self) -> bool:
        """True once a valid `hello` came."""
        return self._identity is not None

    @property
    def expires_unix(self) -> int:
        """When the token ends; 0 before `hello`."""
        return self._identity.expires_unix if self._identity else 0

    # From the client

    def receive(self, data: bytes) -> None:
        """Carry out one message from the client."""
        if self.closed:
            return
        if not self._allow():
            self.end(codes.TOO_MANY_COMMANDS)
            return
        try:
            frame = parse(data, binary=self.binary)
        except CommandError as error:
            self.end(codes.MALFORMED_FRAME, str(error))
            return
        kind = frame.WhichOneof("frame")
        if self._identity is None and kind != "hello":
            self.end(codes.UNAUTHENTICATED)
            return
        assert kind is not None
        _COMMANDS[kind](self, frame)

    def resumed(self) -> None:
        """Go on after the outbox has emptied."""
        if not self.closed and self.spooled:
            self._fanout.room(self)

    # To the client

    def send(self, message: ServerFrame) -> None:
        """Send an answer."""
        if not self.closed and not self.outbox.control(frames.encode(message, binary=self.binary)):
            self.end(codes.SLOW_CONSUMER)

    def report(self, code: Code, message: str = "", channel: str = "") -> None:
        """Tell the client that a command failed."""
        self.send(frames.error(code, message, channel, fatal=False))

    def end(self, code: Code, message: str = "") -> None:
        """Tell the client why, and close. Idempotent."""
        if self.closed:
            return
        if code.number != codes.GOING_AWAY.number:
            self.outbox.control(frames.encode(frames.error(code, message, fatal=True), binary=self.binary))
        self.leave()
        self._sink.close(code.number, code.reason)

    def leave(self) -> None:
        """Forget everything; the connection is gone or about to be. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._fanout.leave(self)
        self.outbox.close()

    def subscribed(
        self, channel: str, positions: Sequence[tuple[Priority, Position]], was_recovering: bool, recovered: bool
    ) -> None:
        """Answer `subscribe`."""
        lanes = [
            LanePosition(lane=lane.wire_value, epoch=position.epoch, offset=position.offset)
            for lane, position in positions
        ]
        answer = Subscribed(channel=channel, positions=lanes, was_recovering=was_recovering, recovered=recovered)
        self.send(ServerFrame(subscribed=answer))

    def heartbeat(self) -> None:
        """Send a ping, or close a connection that has left two without an answer."""
        self._probes = 0
        self._send_ping()

    def _send_ping(self) -> None:
        if self.unanswered >= MISSED_PINGS:
            self.end(codes.HEARTBEAT_MISSED)
            return
        self.unanswered += 1
        ping = self._ping
        ping.sequence += 1
        previous, ping.server_send_time_unix_nano = ping.server_send_time_unix_nano, self._context.now_ns()
        ping.previous_server_send_time_unix_nano = previous
        self.send(ServerFrame(ping=ping))
        ping.previous_client_receive_time_unix_nano = 0
        ping.previous_client_send_time_unix_nano = 0
        ping.previous_server_receive_time_unix_nano = 0

    def drain(self, reconnect_after_millis: int) -> None:
        """Ask the client to reconnect after its slot."""
        self.send(ServerFrame(drain=Drain(reconnect_after_millis=reconnect_after_millis)))

    # Commands

    def _hello(self, frame: ClientFrame) -> None:
        hello: Hello = frame.hello
        if self._identity is not None:
            self.end(codes.MALFORMED_FRAME, "hello was already sent: use refreshToken to replace the token")
            return
        identity = self._verify(hello.token)
        if identity is None:
            return
        self._identity = identity
        self.client = hello.client[:128]
        context, limits = self._context, self._context.limits
        context.on_token(self)
        self.send(
            ServerFrame(
                welcome=Welcome(
                    session=self.id,
                    server_time_unix_nano=context.now_ns(),
                    heartbeat_millis=int(context.heartbeat_seconds * 1000),
                    limits=LimitsMessage(
                        max_frame_bytes=limits.max_frame_bytes,
                        max_subscriptions=limits.max_subscriptions,
                        max_commands_per_second=limits.max_commands_per_second,
                        max_outbox_bytes=limits.outbox_bytes,
                    ),
                    token_expires_unix=identity.expires_unix,
                )
            )
        )

    def _subscribe(self, frame: ClientFrame) -> None:
        command: Subscribe = frame.subscribe
        name = command.channel
        problem = check_channel(name)
        if problem is not None:
            self.report(codes.BAD_CHANNEL, problem, name[:255])
            return
        wanted = self._wanted(command)
        if isinstance(wanted, str):
            self.report(codes.BAD_START, wanted, name)
            return
        lanes = self._lanes(command)
        if isinstance(lanes, str):
            self.report(codes.CHANNEL_FORBIDDEN, lanes, name)
            return
        limit = self._context.limits.max_subscriptions
        if name not in self.subscriptions and len(self.subscriptions) >= limit:
            self.report(codes.TOO_MANY_SUBSCRIPTIONS, f"at most {limit} channels: unsubscribe from one first", name)
            return
        self._fanout.subscribe(self, name, lanes, wanted)

    def _lanes(self, command: Subscribe) -> list[Priority] | str:
        """Return the lanes to deliver, or what is wrong with those that were asked for."""
        assert self._identity is not None
        allowed = self._identity.lanes_for(command.channel)
        if not allowed:
            return "the token does not grant this channel"
        asked = set(command.lanes)
        refused = [lane for lane in LANES if int(lane) in asked and lane not in allowed]
        if refused:
            return f"the token does not grant the lane {refused[0].name} of this channel"
        return [lane for lane in LANES if lane in allowed and (not asked or int(lane) in asked)]

    def _wanted(self, command: Subscribe) -> Wanted | str:
        """Return where to begin, or what is wrong with it."""
        if not _KNOWN_LANES.issuperset(command.lanes):
            return "unknown lane: use CRITICAL, HIGH, NORMAL or LOW"
        if command.start == START_LAST_N and not 1 <= command.last_n <= MAX_LAST_N:
            return f"lastN must be 1 to {MAX_LAST_N}"
        positions: dict[Priority, Position] = {}
        for position in command.positions:
            if position.lane not in _KNOWN_LANES or Priority(position.lane) in positions:
                return "give at most one position per lane, with a lane CRITICAL, HIGH, NORMAL or LOW"
            positions[Priority(position.lane)] = Position(position.epoch, position.offset)
        return Wanted(command.start, command.last_n, positions)

    def _unsubscribe(self, frame: ClientFrame) -> None:
        command: Unsubscribe = frame.unsubscribe
        if not self._fanout.unsubscribe(self, command.channel):
            self.report(codes.NOT_SUBSCRIBED, channel=command.channel[:255])
            return
        self.send(ServerFrame(unsubscribed=Unsubscribed(channel=command.channel)))

    def _pong(self, frame: ClientFrame) -> None:
        pong: Pong = frame.pong
        ping = self._ping
        if pong.sequence == ping.sequence and pong.sequence:
            self._take_times(pong)
        elif pong.sequence:
            # A late answer to an earlier ping is a sign of life, but its times belong to another exchange.
            self.unanswered = min(self.unanswered, 1)
        if pong.probe and self._probes < MAX_PROBES:
            self._probes += 1
            self._send_ping()

    def _take_times(self, pong: Pong) -> None:
        ping = self._ping
        self.unanswered = 0
        ping.previous_client_receive_time_unix_nano = pong.client_receive_time_unix_nano
        ping.previous_client_send_time_unix_nano = pong.client_send_time_unix_nano
        ping.previous_server_receive_time_unix_nano = self._context.now_ns()

    def _receipt(self, frame: ClientFrame) -> None:
        self._context.on_receipt(frame.receipt)

    def _refresh_token(self, frame: ClientFrame) -> None:
        command: RefreshToken = frame.refresh_token
        identity = self._verify(command.token)
        if identity is None:
            return
        assert self._identity is not None
        if identity.subject != self._identity.subject:
            self.end(codes.FORBIDDEN, "the new token is of another subject: open a connection of its own for it")
            return
        self._identity = identity
        self._context.on_token(self)
        self.send(ServerFrame(token_refreshed=TokenRefreshed(token_expires_unix=identity.expires_unix)))
        self._recheck_grants(identity)

    def _recheck_grants(self, identity: Identity) -> None:
        for name, subscription in list(self.subscriptions.items()):
            allowed = identity.lanes_for(name)
            if any(reader.lane not in allowed for reader in subscription.readers):
                self._fanout.unsubscribe(self, name)
                self.report(codes.CHANNEL_FORBIDDEN, "the new token no longer grants this subscription", name)

    def _verify(self, token: str) -> Identity | None:
        try:
            return self._context.verify(token)
        except TokenError as error:
            expired = error.reason == "TOKEN_EXPIRED"
            self.end(codes.TOKEN_EXPIRED if expired else codes.UNAUTHENTICATED, str(error))
            return None

    def _allow(self) -> bool:
        now = self._context.now()
        if self._bucket is None:
            self._bucket = TokenBucket(self._context.limits.max_commands_per_second, now)
        return self._bucket.take(now)


_COMMANDS: dict[str, Callable[[Session, ClientFrame], None]] = {
    "hello": Session._hello,  # noqa: SLF001 - the table belongs to the class
    "subscribe": Session._subscribe,  # noqa: SLF001
    "unsubscribe": Session._unsubscribe,  # noqa: SLF001
    "pong": Session._pong,  # noqa: SLF001
    "receipt": Session._receipt,  # noqa: SLF001
    "refresh_token": Session._refresh_token,  # noqa: SLF001
}
