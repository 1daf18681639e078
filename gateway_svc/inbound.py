"""Parsing what clients send, with the `websockets` library's sans-I/O layer.

Owns the two library objects: one that reads the handshake of a connection, and one that parses frames, which is lent to
a connection only while a frame or message of it is half-read. Used by `websocket`.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence

from websockets.exceptions import NegotiationError
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.server import ServerProtocol
from websockets.streams import StreamReader
from websockets.typing import Origin, Subprotocol

from gateway_svc.core.handshake import SUBPROTOCOLS

_library_log = logging.getLogger(f"{__name__}.library")
_library_log.setLevel(logging.WARNING)

_IDLE_PARSERS = 64


class _Reader(StreamReader):
    """Says whether the parser is between two frames."""

    between_frames = False

    def at_eof(self) -> Generator[None, None, bool]:
        self.between_frames = True
        ended = yield from super().at_eof()
        self.between_frames = False
        return ended


class Parser(Protocol):
    """Parses the frames of one client; may serve another whenever it is idle."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(SERVER, state=OPEN, max_size=max_bytes, logger=_library_log)
        self.stream = _Reader()
        self.reader = self.stream
        self.parser = self.parse()
        next(self.parser)
        self.parts: list[bytes] = []
        """Payloads of the message that is being read."""
        self.text = False

    @property
    def idle(self) -> bool:
        """True while nothing is half-read."""
        return self.stream.between_frames and not self.stream.buffer and self.current_size is None and not self.ended

    @property
    def ended(self) -> bool:
        """True once the client has closed, or has broken the protocol."""
        return self.state is not OPEN


class ParserPool:
    """Idle parsers of one process."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._idle: list[Parser] = []

    def take(self) -> Parser:
        """Return an idle parser."""
        return self._idle.pop() if self._idle else Parser(self._max_bytes)

    def give(self, parser: Parser) -> None:
        """Take back an idle parser."""
        if len(self._idle) < _IDLE_PARSERS:
            self._idle.append(parser)


def _select(_protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Choose ours, JSON where none is offered; a client that only speaks others is refused."""
    if not offered:
        return None
    for ours in SUBPROTOCOLS:
        if ours in offered:
            return Subprotocol(ours)
    raise NegotiationError(f"offer one of {', '.join(SUBPROTOCOLS)}")


def server_protocol(origins: list[Origin | None]) -> ServerProtocol:
    """Return the reader of one handshake."""
    return ServerProtocol(
        origins=origins,
        subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
        select_subprotocol=_select,
        logger=_library_log,
    )
