"""Looks for the highest rate at which a condition holds, in few runs.

Pure: it says which factor to try next and is told how that went.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Search:
    """Doubles until it fails, then halves the distance, on a logarithmic scale.

    On a shared machine a run can fail by bad luck, so a factor has failed only when it failed `tries` times.
    """

    factor: float = 1.0
    """What is tried first."""
    precision: float = 1.1
    """The search ends when the lowest failure is at most this multiple of the highest success."""
    lowest: float = 1 / 256
    highest: float = 4096.0
    best: float = 0.0
    """Highest factor that held; 0 while none has."""
    failed: float = 0.0
    """Lowest factor that failed; 0 while none has."""
    tries: int = 2
    _failures: int = field(default=0, repr=False)

    @property
    def done(self) -> bool:
        """Say whether the result is known."""
        if self.best and self.failed:
            return self.failed / self.best <= self.precision
        return (self.failed > 0 and self.failed <= self.lowest) or self.best >= self.highest

    def report(self, *, held: bool) -> None:
        """Take the outcome at `factor` and choose the next one."""
        if held:
            self._failures = 0
            self.best = max(self.best, self.factor)
            self.factor = (self.best * self.failed) ** 0.5 if self.failed else self.best * 2
            return
        self._failures += 1
        if self._failures < self.tries:
            return
        self._failures = 0
        self.failed = self.factor
        self.factor = (self.best * self.failed) ** 0.5 if self.best else self.failed / 2
