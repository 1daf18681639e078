"""What waits to be appended to one partition and lane, and the one message of it that is on its way.

Owns the rules of appending. At most one message is unacknowledged. One whose answer did not come is sent again, the
same bytes under the same id, before anything else: so its events cannot fall behind later ones. Whoever waits is told
in time; the message itself is tried on until the stream answers or would no longer recognise it. What is packed into a
message is everything that waits. Driven by `appender` and `reader`. Pure.

    waiting ──▶ current ──stored──▶ unread ──read──▶ done
                   │ └─ no answer: again
                   └─ refused, or the deadline passes: everything in `waiting` fails with it
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from publisher_svc.log.base import Entry, LogError
from publisher_svc.log.jetstream.core.layout import EVENTS_PER_MESSAGE
from publisher_svc.log.jetstream.core.packing import size_of


@dataclass(frozen=True, slots=True)
class AppendLimits:
    """Bounds of appending."""

    message_bytes: int = 128 * 1024
    """Bytes of events above which no more are put into a message."""
    append_seconds: float = 10.0
    """How long a caller waits: longer than the election of a leader takes."""
    message_seconds: float = 100.0
    """How long a message is tried: less than the stream remembers ids of messages (120 s)."""


@dataclass(slots=True, eq=False)
class Append:
    """What one caller wants stored in one partition and lane."""

    entries: Sequence[Entry]
    deadline: float
    on_done: Callable[[LogError | None], None]
    """Called once."""
    open: int = field(init=False)
    """Entries whose fate is not known."""
    settled: bool = False

    def __post_init__(self) -> None:
        self.open = len(self.entries)

    def settle(self, error: LogError | None) -> None:
        """Tell the caller, once."""
        if not self.settled:
            self.settled = True
            self.on_done(error)


@dataclass(slots=True, eq=False)
class Packed:
    """A message, from its first attempt until it has been read."""

    id: str
    data: bytes
    entries: list[Entry]
    appends: list[Append]
    """The append of each entry."""
    since: float
    """When it was packed."""
    sequence: int = 0
    """Where the stream has it; 0: not known."""
    was_read: bool = False
    abandoned: bool = False
    """True where its callers were told that it failed: its entries are no longer theirs."""


class AppendQueue:
    """One partition and lane; see the module's first lines."""

    def __init__(
        self, limits: AppendLimits, pack: Callable[[Sequence[Entry]], bytes], new_id: Callable[[], str]
    ) -> None:
        self._limits = limits
        self._pack = pack
        self._new_id = new_id
        self._waiting: deque[tuple[Entry, Append]] = deque()
        self._current: Packed | None = None
        self._unread: dict[str, Packed] = {}

    @property
    def is_idle(self) -> bool:
        """True where nothing is to be sent."""
        return self._current is None and not self._waiting

    def add(self, append: Append) -> None:
        """Queue entries behind all others."""
        self._waiting.extend((entry, append) for entry in append.entries)

    def take(self, now: float) -> Packed | None:
        """Return the message to send now, again or for the first time; None where there is none."""
        self.expire(now)
        if self._current is None and self._waiting:
            self._current = self._next(now)
        return self._current

    def expire(self, now: float) -> None:
        """Tell callers whose time is over, in order, and drop a message that may no longer be sent again."""
        for packed in [each for each in self._unread.values() if now >= each.appends[0].deadline]:
            self._abandon(packed, LogError("the event is stored, but the stream could not be read back in time"))
            del self._unread[packed.id]
        current = self._current
        if current is not None and not current.abandoned:
            late = any(now >= append.deadline and not append.settled for append in current.appends)
            if late:
                self._fail(self._silence())
        elif self._waiting and now >= self._waiting[0][1].deadline:
            self._fail(self._silence())
        if current is not None and now - current.since >= self._limits.message_seconds:
            self._current = None

    def stored(self, packed: Packed, sequence: int) -> None:
        """Take the stream's word that it has a message, for the first time or already, at `sequence`."""
        if packed is not self._current:
            return
        self._current = None
        packed.sequence = sequence
        if packed.was_read:
            _finish(packed)
        elif not packed.abandoned:
            self._unread[packed.id] = packed

    def refused(self, packed: Packed, error: LogError) -> None:
        """Take the stream's word that it does not store a message: it fails, and what waits behind it."""
        if packed is self._current:
            self._fail(error)
            self._current = None

    def own(self, message_id: str) -> list[Entry] | None:
        """Return the entries of a message of this queue that has now been read; None where it is nobody's any more."""
        packed = self._find(message_id)
        return packed.entries if packed is not None and not packed.abandoned else None

    def read(self, message_id: str) -> None:
        """Note that a message was read and that its entries have their positions."""
        packed = self._find(message_id)
        if packed is None:
            return
        packed.was_read = True
        if self._unread.pop(message_id, None) is not None:
            _finish(packed)

    def fail_all(self, error: LogError) -> None:
        """Fail everything, because the log is closed or has gone back."""
        self._fail(error)
        self._current = None
        for packed in self._unread.values():
            self._abandon(packed, error)
        self._unread.clear()

    def next_deadline(self) -> float | None:
        """Return when `expire` is to be called next; None where nobody waits."""
        deadlines = [packed.appends[0].deadline for packed in self._unread.values()]
        if self._current is not None and not self._current.abandoned:
            deadlines.append(self._current.appends[0].deadline)
        if self._waiting:
            deadlines.append(self._waiting[0][1].deadline)
        return min(deadlines, default=None)

    def _find(self, message_id: str) -> Packed | None:
        if self._current is not None and self._current.id == message_id:
            return self._current
        return self._unread.get(message_id)

    def _next(self, now: float) -> Packed:
        entries: list[Entry] = []
        appends: list[Append] = []
        size = 0
        while self._waiting and len(entries) < EVENTS_PER_MESSAGE:
            entry, append = self._waiting[0]
            size += size_of(entry)
            if entries and size > self._limits.message_bytes:
                break
            self._waiting.popleft()
            entries.append(entry)
            appends.append(append)
        return Packed(self._new_id(), self._pack(entries), entries, appends, now)

    def _silence(self) -> LogError:
        seconds = self._limits.append_seconds
        return LogError(
            f"the stream did not answer within {seconds:g} s: see that its servers run, have a leader, and room on disk"
        )

    def _fail(self, error: LogError) -> None:
        """Fail the current message and everything behind it, in order."""
        if self._current is not None:
            self._abandon(self._current, error)
        waiting, self._waiting = self._waiting, deque()
        for _, append in waiting:
            append.settle(error)

    def _abandon(self, packed: Packed, error: LogError) -> None:
        packed.abandoned = True
        for append in packed.appends:
            append.settle(error)


def _finish(packed: Packed) -> None:
    if packed.abandoned:
        return
    for append in packed.appends:
        append.open -= 1
        if not append.open:
            append.settle(None)
