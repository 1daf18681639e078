"""Delays between attempts to reconnect.

Owns the formula and nothing else; the caller brings the randomness and does the waiting.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Settings of `Backoff`, in seconds."""

    first: float = 0.05
    """Upper end of the first delay."""
    maximum: float = 2.0
    """Upper end of all later delays."""
    factor: float = 2.0
    """Growth of the upper end from one attempt to the next."""


class Backoff:
    """Exponential backoff with full jitter: uniform in [0, min(maximum, first * factor ** n)].

    The formula is "full jitter" of Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """

    def __init__(
        self, policy: BackoffPolicy | None = None, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._policy = policy or BackoffPolicy()
        self._uniform = uniform
        self._attempt = 0

    @property
    def attempt(self) -> int:
        """Number of delays handed out since the last reset."""
        return self._attempt

    def next_delay(self) -> float:
        """Return the seconds to wait before the next attempt."""
        policy = self._policy
        ceiling = min(policy.maximum, policy.first * policy.factor ** min(self._attempt, 32))
        self._attempt += 1
        return self._uniform(0.0, ceiling)

    def reset(self) -> None:
        """Start again from the first delay; call it once an attempt has succeeded."""
        self._attempt = 0
