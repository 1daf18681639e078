"""Which sessions are due for a ping, which have not said hello, whose token has ended.

Owns the schedule of all sessions behind one timer: sessions are spread over the slots of a wheel that turns once in a
heartbeat, so a tick touches only its share of them. Called by the heartbeat shell.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from gateway_svc.core.limits import HELLO_SECONDS
from gateway_svc.core.session import Session


class Wheel:
    """The schedule of one process."""

    def __init__(self, heartbeat_seconds: float, tick_seconds: float) -> None:
        self._slots: list[dict[Session, None]] = [{} for _ in range(max(1, round(heartbeat_seconds / tick_seconds)))]
        self._slot_of: dict[Session, int] = {}
        self._at = 0
        self._next = 0
        self._new: dict[Session, float] = {}
        """Sessions without a valid hello and until when they may go on so, oldest first."""
        self._expiring: list[tuple[int, int, Session]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._new) + len(self._slot_of)

    def opened(self, session: Session, now: float) -> None:
        """Begin to watch a session."""
        self._new[session] = now + HELLO_SECONDS

    def authenticated(self, session: Session) -> None:
        """Begin to ping a session, and note when its token ends; called at each refresh too."""
        if self._new.pop(session, None) is not None:
            slot = self._next
            self._next = (slot + 1) % len(self._slots)
            self._slots[slot][session] = None
            self._slot_of[session] = slot
        heapq.heappush(self._expiring, (session.expires_unix, next(self._order), session))

    def closed(self, session: Session) -> None:
        """Stop watching a session. Idempotent."""
        self._new.pop(session, None)
        slot = self._slot_of.pop(session, None)
        if slot is not None:
            del self._slots[slot][session]
        if len(self._expiring) > 2 * len(self._slot_of) + 64:
            # Most entries are of sessions that are gone, or of tokens that were replaced.
            self._expiring = [entry for entry in self._expiring if self._is_current(*entry)]
            heapq.heapify(self._expiring)

    def silent(self, now: float) -> list[Session]:
        """Return the sessions that have not said hello in time."""
        late: list[Session] = []
        for session, deadline in self._new.items():
            if deadline > now:
                break
            late.append(session)
        return late

    def expired(self, now_unix: float) -> Iterator[Session]:
        """Yield sessions whose token has ended."""
        while self._expiring and self._expiring[0][0] <= now_unix:
            _, _, session = heapq.heappop(self._expiring)
            if not session.closed and session.expires_unix <= now_unix:
                yield session

    def due(self) -> list[Session]:
        """Turn the wheel by one slot and return the sessions to ping."""
        self._at = (self._at + 1) % len(self._slots)
        return list(self._slots[self._at])

    def _is_current(self, expires_unix: int, _order: int, session: Session) -> bool:
        return session in self._slot_of and session.expires_unix == expires_unix
