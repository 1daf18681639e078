"""Where a reader goes on, given the position it brings.

Owns the rules of docs/protocol.md ("Resuming"): positions that cannot be honoured are answered at once with a gap and
the position to go on from. Used by StreamEvents and ReadEvents. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from lanecast.core.position import Lineage, Position
from lanecast.v1.event_pb2 import GAP_REASON_AHEAD, GAP_REASON_EPOCH_UNKNOWN, GapReason


@dataclass(frozen=True, slots=True)
class Resumption:
    """The cursor to read after, and the gap to announce first where the position could not be honoured."""

    cursor: int
    gap_reason: GapReason.ValueType | None = None


def resume(position: Position, lineage: Lineage, end_offset: int) -> Resumption:
    """Return where a reader with `position` goes on.

    A position at (e, o) is good while o lies before the start of the epoch that follows e, and does not lie beyond what
    was ever issued. One beyond had seen events that a crash undid: it goes on at the end of what is left. One of an
    unknown epoch belongs to another log: none of this log's events has been seen, so it goes on at the beginning.
    """
    try:
        epoch_end = lineage.end_of(position.epoch) if position.epoch else None
    except KeyError:
        return Resumption(0, GAP_REASON_EPOCH_UNKNOWN)
    last = end_offset if epoch_end is None else epoch_end - 1
    if position.offset > last:
        return Resumption(last, GAP_REASON_AHEAD)
    return Resumption(position.offset)
