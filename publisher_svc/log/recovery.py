"""What an embedded log knows after a start, from the files alone.

Owns the scan of the segments that were not closed when the process ended. Used once, by `sqlite`, before anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import apsw
from google.protobuf.message import DecodeError

from lanecast.core.limits import DEDUP_WINDOW_SECONDS
from publisher_svc.core.dedup import DedupWindow
from publisher_svc.log import ids, segment
from publisher_svc.log.base import ChannelLane, LogError


@dataclass(slots=True)
class Recovered:
    """The state of a log at start."""

    heads: dict[ChannelLane, int]
    end: int
    """The greatest offset that was ever issued."""
    segments: list[tuple[int, int]] = field(default_factory=list)
    """First offset and number of each segment with events, ascending."""
    next_number: int = 1
    """Number for the segment to write next."""
    dedup: DedupWindow = field(default_factory=DedupWindow)
    torn_bytes: int = 0
    """Bytes that were cut off: the ends of commits that a crash interrupted."""


def recover(folder: Path, heads: dict[ChannelLane, int], through: int) -> Recovered:
    """Bring saved heads, which account for offsets up to `through`, up to date; find segments and known ids.

    Segments without events are left over from a kill between making and using them; the newest one is used again.
    What a killed process left in the system's cache is made durable: it counts as stored from here on.

    Raises:
        LogError: a file is no segment, or is damaged.
    """
    try:
        return _recover(folder, heads, through)
    except (apsw.Error, DecodeError, ValueError, TypeError, OverflowError) as error:
        raise LogError(f"a segment is damaged ({error}): restore the folder from a backup, or move it away") from error


def _recover(folder: Path, heads: dict[ChannelLane, int], through: int) -> Recovered:
    state = Recovered(heads, through)
    newest_ns = 0
    for number in segment.numbers(folder):
        reader = _open(folder, number, state)
        bounds = reader.bounds()
        if bounds is not None:
            state.segments.append((bounds[0], number))
            state.next_number = number + 1
            state.end = max(state.end, bounds[1])
            newest_ns = max(newest_ns, reader.newest_time())
            if bounds[1] > through:
                state.heads.update(reader.heads(through))
        reader.close()
    _recover_ids(folder, state, newest_ns - DEDUP_WINDOW_SECONDS * 1_000_000_000)
    return state


def _open(folder: Path, number: int, state: Recovered) -> segment.SegmentReader:
    if not segment.is_closed(folder, number):
        state.torn_bytes += segment.torn_bytes(folder, number)
        segment.SegmentWriter(folder, number).release()  # makes the tables where a kill came before they were made
        segment.make_durable(folder, number)
    return segment.SegmentReader(folder, number)


def _recover_ids(folder: Path, state: Recovered, since_ns: int) -> None:
    state.dedup.fill(ids.kept(folder, since_ns))
    for _, number in state.segments:
        reader = segment.SegmentReader(folder, number)
        if reader.newest_time() >= since_ns:
            state.dedup.fill(ids.seen(reader, since_ns))
        reader.close()
