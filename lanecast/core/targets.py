"""Which of several publishers to use, and when to try the next.

Owns the order of preference, the delays between attempts, and the rule that all targets must share one log. Used by the
SDKs and the gateway, which open connections and tell what came of them. Pure; times are of one monotonic clock.

*Order.* The targets are tried in the order they were given. One that failed is left alone for a while, longer each
time (exponential backoff with full jitter), and the others come first meanwhile. So each client that loses its
publisher goes to the next in its own list; lists in different orders spread the clients.

*Spreading.* Whoever loses a connection waits a random moment before the next attempt: the others have lost theirs, too.

*One log.* A position, and the memory of which events were published, belong to a log. A target with another log is as
foreign as a wrong address: it is not used, unless no target by its last word has the log in use any more, which means
that it was replaced.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from lanecast.core.backoff import BackoffPolicy

STABLE_SECONDS = 1.0
"""A target that was open for this long begins anew when it fails; one that fails sooner is tried more rarely."""


class Standing(Enum):
    """How the log of a target that was opened relates to the one in use."""

    SAME = "same"
    """The same, or not told."""
    REPLACED = "replaced"
    """Another one, which is from now on in use: no target has the old one any more."""
    FOREIGN = "foreign"
    """Another one: do not use the target."""


@dataclass(slots=True)
class _Target:
    name: str
    rank: int
    failures: int = 0
    not_before: float = float("-inf")
    opened_at: float | None = None
    log_id: str = ""


class TargetRing:
    """The targets of one client. Use: `next`, then `opened` and, at the end or instead, `failed` or `left`."""

    def __init__(
        self,
        names: Sequence[str],
        *,
        any_log: bool = False,
        policy: BackoffPolicy | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._targets = {name: _Target(name, rank) for rank, name in enumerate(names)}
        self._any_log = any_log
        self._policy = policy or BackoffPolicy()
        self._uniform = uniform
        self._not_before = float("-inf")
        self.log_id = ""
        """The log in use; empty where no target has named one."""

    def __repr__(self) -> str:
        failing = [target.name for target in self._targets.values() if target.failures]
        return f"TargetRing({', '.join(self._targets)}; failing: {', '.join(failing) or 'none'})"

    @property
    def has_choice(self) -> bool:
        """True where there is more than one target."""
        return len(self._targets) > 1

    def next(self, now: float) -> tuple[str, float]:
        """Return the target to try next, and in how many seconds."""
        target = min(self._targets.values(), key=lambda each: (max(each.not_before, now), each.rank))
        return target.name, max(0.0, target.not_before - now, self._not_before - now)

    def opened(self, name: str, log_id: str, now: float) -> Standing:
        """Take note that a target has answered, and of the log it named; empty where it named none."""
        target = self._targets[name]
        target.log_id, target.opened_at = log_id, now
        if not log_id or log_id == self.log_id:
            return Standing.SAME
        if not self.log_id:
            self.log_id = log_id
            return Standing.SAME
        if not self._any_log and any(target.log_id == self.log_id for target in self._targets.values()):
            return Standing.FOREIGN
        self.log_id = log_id
        return Standing.REPLACED

    def failed(self, name: str, now: float) -> None:
        """Take note that a target cannot be used, or cannot be used any more."""
        target, policy = self._targets[name], self._policy
        opened_at, target.opened_at = target.opened_at, None
        if opened_at is not None and now - opened_at >= STABLE_SECONDS:
            target.failures = 0
        ceiling = min(policy.maximum, policy.first * policy.factor ** min(target.failures, 32))
        target.failures += 1
        target.not_before = now + self._uniform(0.0, ceiling)
        self._not_before = float("-inf") if opened_at is None else now + self._uniform(0.0, policy.first)

    def left(self, name: str) -> None:
        """Take note that a target was left although nothing is wrong with it."""
        target = self._targets[name]
        target.failures, target.opened_at = 0, None
        target.not_before = self._not_before = float("-inf")

    def preferred(self, name: str) -> list[str]:
        """Return the targets that come before one in the order of preference."""
        rank = self._targets[name].rank
        return [target.name for target in self._targets.values() if target.rank < rank]
