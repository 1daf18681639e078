"""A connection of the WebSocket edge over TLS.

Owns the TLS state of one connection, between the bytes of the socket and all that `websocket` does: that reads and
writes plain text, and its writing to the socket is used for what is encrypted. So here, too, the outbox learns when the
kernel has the last byte, and holds what waits: an event loop's own TLS would keep bytes of its own that nothing can
overtake. Built by `edge`; decides nothing.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress

from gateway_svc.websocket import CLOSE_SECONDS, Connection, ConnectionHost

log = logging.getLogger(__name__)

RECORD_BYTES = 16 * 1024
"""Most plain text in one record of TLS."""

ANSWER_BYTES = 16 * 1024
"""Most bytes of TLS's own answers, to key updates, that wait for a client that reads nothing."""


class SecureConnection(Connection):
    """One TCP connection whose bytes are records of TLS."""

    __slots__ = ("_agreed", "_incoming", "_outgoing", "_tls")

    def __init__(self, edge: ConnectionHost, context: ssl.SSLContext) -> None:
        super().__init__(edge)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._agreed = False
        """True once TLS's handshake is done."""

    # asyncio

    def data_received(self, data: bytes) -> None:
        """Take records from the client."""
        self._incoming.write(data)
        try:
            self._read()
        except ssl.SSLWantReadError:
            self._answer_tls()
        except ssl.SSLError as error:
            log.debug("TLS with a client failed: %s", error)
            self._part()

    def resume_writing(self) -> None:
        """Let the outbox go on, then TLS itself."""
        super().resume_writing()
        self._answer_tls()

    # The core's sink

    def write(self, data: bytes) -> bool:
        """See `Sink.write`."""
        try:
            sealed = self._seal(data)
        except ssl.SSLError:
            # TLS has ended: `connection_lost` follows.
            self.abort()
            return True
        if self._paused:
            # An answer of TLS met a full socket, of which the outbox knows nothing yet.
            self._transport.write(sealed)
            return False
        return super().write(sealed)

    # TLS

    def _read(self) -> None:
        if not self._agreed:
            self._tls.do_handshake()
            self._agreed = True
        while not self._transport.is_closing():
            data = self._tls.read(RECORD_BYTES)
            if not data:  # the client has ended TLS
                self._part()
                return
            super().data_received(data)

    def _seal(self, data: bytes) -> bytes:
        """Return records that hold `data`, after what TLS itself has to say."""
        if len(data) <= RECORD_BYTES:
            self._tls.write(data)
            return self._outgoing.read()
        parts = []
        # Record by record, for a buffer of OpenSSL keeps the size it once had.
        for start in range(0, len(data), RECORD_BYTES):
            self._tls.write(data[start : start + RECORD_BYTES])
            parts.append(self._outgoing.read())
        return b"".join(parts)

    def _answer_tls(self) -> None:
        """Send what TLS itself has to say; where the socket is full, later."""
        waiting = self._outgoing.pending
        if not waiting or self._fd < 0:
            return
        if not self._paused:
            super().write(self._outgoing.read())
        elif waiting > ANSWER_BYTES:
            self.abort()

    def _part(self) -> None:
        """End a connection whose TLS has ended or failed; an alert says why."""
        self._leave()
        self._closing = True
        self._edge.watch(self, CLOSE_SECONDS)
        self._end()

    def _push(self, data: bytes) -> None:
        with suppress(ssl.SSLError):  # TLS has ended: nobody would read it
            super()._push(self._seal(data))

    def _end(self) -> None:
        with suppress(ssl.SSLError):  # says that the client has not ended TLS too, for which nobody waits
            self._tls.unwrap()
        if self._outgoing.pending:
            super()._push(self._outgoing.read())
        super()._end()
