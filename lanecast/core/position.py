"""Positions in the log and the rule that tells a contiguous event from a duplicate and from a hole.

Owns the continuity rule of docs/protocol.md ("Positions"). Used by the subscriber, the gateway and the log's readers;
imports nothing but the lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Position:
    """A place in one lane of one channel: everything up to and including `offset` has been handled."""

    epoch: str
    """The log epoch in which the offset was issued."""
    offset: int
    """Zero stands before the first event."""

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


class Continuity(Enum):
    """How an event relates to a reader's cursor."""

    CONTIGUOUS = "contiguous"
    DUPLICATE = "duplicate"
    HOLE = "hole"


def continuity(cursor: int, prev_offset: int, offset: int) -> Continuity:
    """Relate an event to a cursor of the same epoch.

    `prev_offset` is a bound: no deliverable event lies strictly between it and `offset`. So an event is contiguous if
    and only if `prev_offset <= cursor < offset`.
    """
    if offset <= cursor:
        return Continuity.DUPLICATE
    if prev_offset <= cursor:
        return Continuity.CONTIGUOUS
    return Continuity.HOLE


@dataclass(frozen=True, slots=True)
class EpochStart:
    """One link of the log's lineage."""

    epoch: str
    first_offset: int
    """Offsets from this one on were issued in this epoch, until the next epoch's first."""


class Lineage:
    """The epochs of a log, oldest first.

    A new epoch begins when the log is created, restored from a backup, or opened after an operating-system crash that
    may have undone writes. Offsets go on growing across epochs.
    """

    def __init__(self, starts: list[EpochStart]) -> None:
        if not starts:
            raise ValueError("a lineage has at least one epoch")
        self._starts = starts

    @property
    def current(self) -> str:
        """The epoch in which new offsets are issued."""
        return self._starts[-1].epoch

    @property
    def log_id(self) -> str:
        """The name of the log: its first epoch, which stays the same for as long as the log exists."""
        return self._starts[0].epoch

    @property
    def starts(self) -> tuple[EpochStart, ...]:
        """The links, oldest first."""
        return tuple(self._starts)

    def end_of(self, epoch: str) -> int | None:
        """Return the first offset that is no longer good in `epoch`.

        None where `epoch` is the current one, which has no end yet. Not only the next epoch counts: a later crash may
        have undone what was older still, and its epoch then begins below the one before.

        Raises:
            KeyError: the epoch is not in the lineage.
        """
        for index, start in enumerate(self._starts):
            if start.epoch == epoch:
                return min((later.first_offset for later in self._starts[index + 1 :]), default=None)
        raise KeyError(epoch)
