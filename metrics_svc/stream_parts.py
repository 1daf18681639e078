"""What the stream of server-sent events carries besides figures and alerts, for those who ask for it.

Owns the names of the parts and what each reader has seen of them. Used by `http_api`, one object for each stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from google.protobuf.message import Message

from metrics_svc import messages
from metrics_svc.core.queries import Queries
from metrics_svc.core.selection import DEFAULT_STATUS_WINDOW_SECONDS, invalid
from metrics_svc.core.telemetry import NANOS

STATUS, ROLLOUTS = "status", "rollouts"
PARTS = (STATUS, ROLLOUTS)
STATUS_SECONDS = 5
"""The grade is computed over minutes: more often it would say nothing new."""
MAX_ROLLOUTS = 20

Newest = Callable[[int], Sequence[tuple[object, Message]]]
"""Returns the newest rollouts, each with what is another object after each change."""


class Parts:
    """The parts that one reader wants."""

    def __init__(self, wanted: Sequence[str], queries: Queries, newest: Newest) -> None:
        """Begin with everything unseen.

        Raises:
            StatusError: a part is unknown.
        """
        unknown = [name for name in wanted if name not in PARTS]
        if unknown:
            raise invalid("PART_UNKNOWN", f"unknown part {unknown[0]!r:.60}: use {', '.join(PARTS)}", "include")
        self._wanted = frozenset(wanted)
        self._queries = queries
        self._newest = newest
        self._status_due = 0
        self._seen: tuple[object, ...] = ()

    def due(self, now_ns: int) -> Iterator[tuple[str, Message]]:
        """Return what is to be sent now: the name of each event, and its message."""
        if STATUS in self._wanted and now_ns >= self._status_due:
            self._status_due = now_ns + STATUS_SECONDS * NANOS
            status = self._queries.status(now_ns, DEFAULT_STATUS_WINDOW_SECONDS)
            yield "status", messages.status_response(status)
        if ROLLOUTS in self._wanted:
            yield from self._changed()

    def _changed(self) -> Iterator[tuple[str, Message]]:
        found = self._newest(MAX_ROLLOUTS)
        seen, self._seen = self._seen, tuple(mark for mark, _ in found)
        for mark, message in reversed(found):  # oldest first, so that the newest is what a reader knows last
            if not any(mark is old for old in seen):
                yield "rollout", message
