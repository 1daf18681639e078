"""A listening socket and the connections that are accepted on it.

Owns when connections are accepted, and TLS until its handshake is done. Used by `server`. Of its own, since uvloop
closes a server for ever whose `accept` finds no free file descriptor, and asyncio logs a traceback each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable

log = logging.getLogger(__name__)

_BACKLOG = 1_024
_AT_ONCE = 64
"""Connections that are accepted before others have their turn of the loop."""
_RETRY_SECONDS = 0.5
_HAND_OVER_SECONDS = 0.1
"""How long a handshake of TLS may go on once nothing is accepted any more."""
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_ABSENT = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))
"""What binding says to an address of a family that the machine does not have."""


async def bind(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets, on one port, for every address of `host`; an empty one means all of the machine.

    Raises:
        OSError: the port is in use or may not be bound.
    """
    name = host.removeprefix("[").removesuffix("]")
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    both = name == "::" and socket.has_dualstack_ipv6()  # as gRPC means it
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            where = (address[0], sockets[0].getsockname()[1] if sockets else port, *address[2:])
            try:
                # One port, one process: a second bind must fail, and `create_server` would share it if told to.
                opened = socket.create_server(
                    where, family=family, backlog=_BACKLOG, reuse_port=False, dualstack_ipv6=both
                )
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            opened.setblocking(False)
            sockets.append(opened)
    except BaseException:
        for each in sockets:
            each.close()
        raise
    if not sockets and absent is not None:
        raise absent
    return sockets


class Listener:
    """Accepts on one socket until it is closed."""

    def __init__(
        self,
        sock: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
        handshake_seconds: float,
    ) -> None:
        self._sock = sock
        self._factory = factory
        self._context = context
        self._handshake_seconds = handshake_seconds
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._exhausted = False
        self._accepted: dict[asyncio.Task[None], socket.socket] = {}
        """Connections that no transport owns yet, by what hands them over."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Accept no more. Idempotent."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        if self._retry is not None:
            self._retry.cancel()
        self._sock.close()

    async def wait_closed(self) -> None:
        """Return once every accepted connection is handed over, or given up in its handshake."""
        if not self._tasks:
            return
        # Not cancelled at once: uvloop does not tell a protocol that is just made of the end of its connection then.
        _, late = await asyncio.wait(self._tasks, timeout=_HAND_OVER_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue  # of that one connection: it is gone already
                self._rest(error)
                return
            self._exhausted = False
            accepted.setblocking(False)
            task = self._loop.create_task(self._hand_over(accepted), name="accepted connection")
            self._tasks.add(task)
            self._accepted[task] = accepted
            task.add_done_callback(self._handed_over)

    def _rest(self, error: OSError) -> None:
        """Leave the connections that come in the backlog for a while: without this the loop would spin."""
        if not self._exhausted:
            log.warning("connections cannot be accepted now: %s; raise the limit of open files", error.strerror)
        self._exhausted = True
        self._loop.remove_reader(self._sock)
        self._retry = self._loop.call_later(_RETRY_SECONDS, self._resume)

    def _resume(self) -> None:
        self._loop.add_reader(self._sock, self._accept)

    async def _hand_over(self, accepted: socket.socket) -> None:
        seconds = None if self._context is None else self._handshake_seconds
        # A handshake that fails is the client's affair; the transport is closed by then.
        with contextlib.suppress(OSError, EOFError):
            await self._loop.connect_accepted_socket(
                self._made, accepted, ssl=self._context, ssl_handshake_timeout=seconds
            )

    def _made(self) -> asyncio.Protocol:
        """From here on a transport owns the socket."""
        task = asyncio.current_task()
        if task is not None:
            self._accepted.pop(task, None)
        return self._factory()

    def _handed_over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        accepted = self._accepted.pop(task, None)
        if accepted is not None:  # cancelled before it began
            accepted.close()
