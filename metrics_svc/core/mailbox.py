"""Notifications that wait to be sent: how many, when each is tried, and when it is given up.

Owns the bound, the backoff and the deadline. Takes `now` in nanoseconds since the Unix epoch. Called by `webhook`,
which does the sending.

Notifications of one alert, or one rollout, go in their order: an alert's end is not told before its begin was, or was
given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from metrics_svc.core.alerts import NANOS
from metrics_svc.core.notices import FAILED, SENT, WAITING, Notice

MAX_WAITING = 256
FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS = 1.0, 300.0
MAX_DETAIL = 300


@dataclass(slots=True)
class _Waiting:
    notice: Notice
    due_ns: int
    busy: bool = False


class Mailbox:
    """Waiting notifications, at most `MAX_WAITING`."""

    def __init__(self, deadline_seconds: float, uniform: Callable[[float, float], float]) -> None:
        self._deadline_ns = round(deadline_seconds * NANOS)
        self._uniform = uniform
        self._waiting: dict[str, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, notices: Iterable[Notice], now_ns: int) -> list[Notice]:
        """Add notifications; return those that were given up to make room. One that waits already is not doubled."""
        given_up: list[Notice] = []
        for notice in notices:
            if notice.key in self._waiting or notice.outcome != WAITING:
                continue
            if len(self._waiting) >= MAX_WAITING:
                given_up.append(self._drop_oldest())
            self._waiting[notice.key] = _Waiting(notice, now_ns)
        return given_up

    def take(self, now_ns: int) -> Notice | None:
        """Return the notification to send now, which then is not handed out again until `sent` or `failed`."""
        for waiting in self._ready():
            if waiting.due_ns <= now_ns:
                waiting.busy = True
                return waiting.notice
        return None

    def next_seconds(self, now_ns: int) -> float | None:
        """Return how long until something is to be sent; None: nothing waits."""
        return min((max(0, one.due_ns - now_ns) / NANOS for one in self._ready()), default=None)

    def sent(self, key: str) -> Notice | None:
        """Take note that a notification has arrived; return its record."""
        waiting = self._waiting.pop(key, None)
        if waiting is None:
            return None
        return replace(waiting.notice, outcome=SENT, attempts=waiting.notice.attempts + 1, detail="")

    def failed(self, key: str, now_ns: int, detail: str, *, retry: bool, after_seconds: float = 0.0) -> Notice | None:
        """Take note that a try has failed; return the record, whose outcome says whether there will be another."""
        waiting = self._waiting.get(key)
        if waiting is None:
            return None
        notice = replace(waiting.notice, attempts=waiting.notice.attempts + 1, detail=detail[:MAX_DETAIL])
        delay = max(after_seconds, self._delay(notice.attempts))
        due_ns = now_ns + round(delay * NANOS)
        if not retry or due_ns > notice.created_ns + self._deadline_ns:
            del self._waiting[key]
            return replace(notice, outcome=FAILED)
        waiting.notice, waiting.due_ns, waiting.busy = notice, due_ns, False
        return notice

    def _delay(self, attempts: int) -> float:
        """Return a delay from half to all of what doubles with each try: never at once, never all at one time."""
        ceiling = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 16))
        return self._uniform(ceiling / 2, ceiling)

    def _ready(self) -> list[_Waiting]:
        """Return what may be tried, leaving out what has to wait for an earlier notification of its alert."""
        first: dict[str, _Waiting] = {}
        for key, waiting in self._waiting.items():
            first.setdefault(key.rpartition(":")[0], waiting)
        return [waiting for waiting in first.values() if not waiting.busy]

    def _drop_oldest(self) -> Notice:
        key = next((key for key, waiting in self._waiting.items() if not waiting.busy), next(iter(self._waiting)))
        notice = self._waiting.pop(key).notice
        return replace(notice, outcome=FAILED, detail=f"{MAX_WAITING} notifications were waiting already")
