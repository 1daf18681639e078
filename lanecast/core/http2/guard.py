"""How much unasked-for work a peer may cause on one connection.

Owns the allowance for frames that cost us something and carry nothing: pings, settings, resets, empty data. Used by
`connection`, which ends the connection of whoever exceeds it (CVE-2019-9512 to -9518, CVE-2023-44487). Pure.
"""

from __future__ import annotations

BURST = 1_000
"""Such frames that may come at once."""

PER_SECOND = 100.0
"""Such frames that may come for ever. gRPC's own clients send a few pings a second to measure the bandwidth."""


class Guard:
    """A token bucket."""

    def __init__(self, burst: int = BURST, per_second: float = PER_SECOND) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._left = float(burst)
        self._counted_at: float | None = None

    def allows(self, now: float) -> bool:
        """Take one frame at `now`, in seconds; False where it was too many."""
        if self._counted_at is not None:
            passed = max(0.0, now - self._counted_at)
            self._left = min(self._burst, self._left + passed * self._per_second)
        self._counted_at = now
        self._left -= 1
        return self._left >= 0
