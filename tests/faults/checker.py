"""What must be true of a run, whatever was done to it: the one checker of all fault scenarios.

Owns the rules of docs/reliability.md and how a breach is told. `Journal` follows one channel and lane of one subscriber
while it receives; `check` compares all journals and acknowledgements with the log at the end. Called by `recorder` and
`run`. Pure: no clock, no I/O. Ids are numbers here (`mark`), offsets and marks are kept in arrays: a run has millions.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from itertools import pairwise

Key = tuple[str, int]
"""Channel and number of the lane."""


class Breach(Enum):
    """The ways to break the promise."""

    LOST = "lost: acknowledged, but neither delivered nor named by a gap"
    SKIPPED = "skipped: in the log, never acknowledged, neither delivered nor named by a gap"
    UNSTORED = "unstored: acknowledged, but the log does not have it there"
    DOUBLED = "doubled: delivered twice to one cursor"
    STORED_TWICE = "stored twice under two offsets"
    DISORDERED = "out of order"
    PHANTOM = "phantom: delivered, but the log does not have it there"
    HOLE = "hole: prev_offset is beyond the cursor, and no gap says why"
    GAP = "gap that this fault does not excuse"
    WRONG = "wrong: the payload is not the one that was published"


@dataclass(frozen=True, slots=True)
class Problem:
    """One breach, with the events concerned."""

    breach: Breach
    key: Key
    detail: str
    who: str = ""

    def __str__(self) -> str:
        channel, lane = self.key
        return f"{self.who or 'log'}: {channel} lane {lane}: {self.breach.value}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Gap:
    """Events in (`after`, `through`] that a subscriber was told it will not get."""

    after: int
    through: int
    reason: str
    count: int = 0


@dataclass(frozen=True, slots=True)
class Ack:
    """An event that the service has answered for."""

    key: Key
    mark: int
    offset: int
    sequence: int
    """Place among the events of its producer, channel and lane, in the order of handing over."""
    producer: str = ""


@dataclass(slots=True)
class Lane:
    """Offsets and marks of consecutive events of one channel and lane."""

    offsets: array[int] = field(default_factory=lambda: array("Q"))
    marks: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, offset: int, mark: int) -> None:
        """Append an event."""
        self.offsets.append(offset)
        self.marks.append(mark)

    def digest(self) -> str:
        """Return the prefix hash: equal for two readers who were handed the same events in the same order."""
        return blake2b(self.offsets.tobytes() + self.marks.tobytes(), digest_size=8).hexdigest()

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.offsets, self.marks, strict=True)


@dataclass(slots=True)
class Journal:
    """What one subscriber was handed of one channel and lane, by the rules that docs/protocol.md gives to clients."""

    who: str
    key: Key
    excused: Collection[str] = ()
    """Reasons of gaps that this run may have."""
    epoch: str = ""
    cursor: int = 0
    start: int | None = None
    """Where it began; None before the first answer to `subscribe`."""
    handed: Lane = field(default_factory=Lane)
    gaps: list[Gap] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    damaged: set[int] = field(default_factory=set)
    """Offsets of events that came with another payload or id."""

    def begin(self, epoch: str, offset: int) -> None:
        """Take the position that answers `subscribe`. One that resumes keeps its cursor: only a gap moves it."""
        if self.start is None:
            self.start = self.cursor = offset
            self.epoch = epoch

    def event(self, epoch: str, offset: int, prev_offset: int, mark: int) -> bool:
        """Take an event; False where a client would have to subscribe again, since something is missing before it."""
        cursor = self.cursor
        if offset <= cursor:
            self._blame(Breach.DOUBLED, f"offset {offset}, id {mark:016x}, came again at cursor {cursor}")
            return True
        if prev_offset > cursor:
            self._blame(
                Breach.HOLE, f"offset {offset}, id {mark:016x}, says prev_offset {prev_offset} at cursor {cursor}"
            )
            return False
        self.handed.offsets.append(offset)
        self.handed.marks.append(mark)
        self.cursor = offset
        self.epoch = epoch
        return True

    def gap(self, epoch: str, gap: Gap) -> None:
        """Take a gap."""
        if gap.reason not in self.excused:
            self._blame(
                Breach.GAP,
                f"{gap.reason} from {gap.after} to {gap.through} ({gap.count} events) at cursor {self.cursor}",
            )
        elif gap.after > self.cursor:
            self._blame(Breach.HOLE, f"a gap from {gap.after} to {gap.through} came at cursor {self.cursor}")
        self.gaps.append(Gap(max(gap.after, self.cursor), gap.through, gap.reason, gap.count))
        self.cursor = gap.through
        self.epoch = epoch

    def advance(self, through: int) -> None:
        """Take the word that nothing is missing up to an offset; `check` finds out whether that was true."""
        self.cursor = max(self.cursor, through)

    def wrong(self, offset: int, mark: int, detail: str) -> None:
        """Note that the payload of an event is not what was published; the event does not also count as missing."""
        self.damaged.add(offset)
        self.cursor = max(self.cursor, offset)
        self._blame(Breach.WRONG, f"offset {offset}, id {mark:016x}: {detail}")

    def _blame(self, breach: Breach, detail: str) -> None:
        self.problems.append(Problem(breach, self.key, detail, self.who))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a run."""

    problems: Sequence[Problem]
    counts: Mapping[str, int]

    def number(self, *breaches: Breach) -> int:
        """Return how many problems are of these kinds."""
        return sum(problem.breach in breaches for problem in self.problems)


def check(
    acks: Sequence[Ack], journals: Iterable[Journal], stored: Mapping[Key, Lane], first_offset: int = 0
) -> Verdict:
    """Judge a run that has come to rest: nothing is published any more, every subscriber has all it will get.

    Args:
        acks: All acknowledgements.
        journals: All channels and lanes of all subscribers.
        stored: What the log has at the end.
        first_offset: The smallest offset that retention has left.
    """
    problems: list[Problem] = []
    acked: dict[Key, dict[int, int]] = {}
    counts = Counter(stored=sum(map(len, stored.values())))
    for key, lane in stored.items():
        problems += _stored_badly(key, lane)
    for ack in acks:
        acked.setdefault(ack.key, {})[ack.offset] = ack.mark
        counts["acknowledged"] += 1
        problems += _acked_badly(ack, stored, first_offset)
    problems += _disordered(acks)
    for journal in journals:
        counts["delivered"] += len(journal.handed)
        counts["gaps"] += len(journal.gaps)
        problems += journal.problems
        problems += _delivered_badly(journal, stored.get(journal.key, Lane()), acked.get(journal.key, {}), first_offset)
    return Verdict(problems, counts)


def _stored_badly(key: Key, lane: Lane) -> Iterator[Problem]:
    seen: dict[int, int] = {}
    last = 0
    for offset, mark in lane:
        if offset <= last:
            yield Problem(Breach.DISORDERED, key, f"offset {offset} stands behind {last} in the log")
        if mark in seen:
            yield Problem(Breach.STORED_TWICE, key, f"id {mark:016x} has the offsets {seen[mark]} and {offset}")
        seen[mark] = last = offset


def _acked_badly(ack: Ack, stored: Mapping[Key, Lane], first_offset: int) -> Iterator[Problem]:
    if ack.offset < first_offset:
        return
    lane = stored.get(ack.key, Lane())
    found = _mark_at(lane, ack.offset)
    if found != ack.mark:
        what = "nothing" if found is None else f"id {found:016x}"
        detail = f"id {ack.mark:016x} was acknowledged at offset {ack.offset}, where the log has {what}"
        yield Problem(Breach.UNSTORED, ack.key, detail, ack.producer)


def _mark_at(lane: Lane, offset: int) -> int | None:
    index = bisect_left(lane.offsets, offset)
    return lane.marks[index] if index < len(lane) and lane.offsets[index] == offset else None


def _disordered(acks: Iterable[Ack]) -> Iterator[Problem]:
    """Find events of one producer, channel and lane that are stored in another order than they were handed over."""
    chains: dict[tuple[str, Key], list[Ack]] = {}
    for ack in acks:
        chains.setdefault((ack.producer, ack.key), []).append(ack)
    for (producer, key), chain in chains.items():
        chain.sort(key=lambda ack: ack.sequence)
        for before, after in pairwise(chain):
            if after.offset <= before.offset:
                detail = f"id {before.mark:016x} has offset {before.offset}, the later {after.mark:016x} {after.offset}"
                yield Problem(Breach.DISORDERED, key, detail, producer)


def _delivered_badly(journal: Journal, stored: Lane, acked: Mapping[int, int], first_offset: int) -> Iterator[Problem]:
    if journal.start is None:
        if acked:
            yield Problem(Breach.LOST, journal.key, "it never got an answer to subscribe", journal.who)
        return
    wanted = _due(journal, stored, first_offset)
    if wanted.digest() == journal.handed.digest():
        return
    known = dict(wanted)
    had: set[int] = set()
    last = 0
    for offset, mark in journal.handed:
        if offset <= last:
            yield Problem(Breach.DISORDERED, journal.key, f"offset {offset} came after {last}", journal.who)
        if offset in had:
            yield Problem(Breach.DOUBLED, journal.key, f"offset {offset} was handed over twice", journal.who)
        had.add(offset)
        last = offset
        found = known.get(offset) or _mark_at(stored, offset)
        if found != mark and offset >= first_offset:
            what = "nothing" if found is None else f"id {found:016x}"
            detail = f"id {mark:016x} came with offset {offset}, where the log has {what}"
            yield Problem(Breach.PHANTOM, journal.key, detail, journal.who)
    for offset, mark in wanted:
        if offset not in had:
            breach = Breach.LOST if offset in acked else Breach.SKIPPED
            detail = f"id {mark:016x} at offset {offset}; began at {journal.start}, cursor at the end {journal.cursor}"
            yield Problem(breach, journal.key, detail, journal.who)


def _due(journal: Journal, stored: Lane, first_offset: int) -> Lane:
    """Return what a journal should hold: all that is stored after its start, without what gaps have named."""
    due = Lane()
    start = max(journal.start or 0, first_offset - 1)
    if start > (journal.start or 0):  # retention took the beginning, which is to be judged by what came of it
        for offset, mark in journal.handed:
            if offset <= start:
                due.add(offset, mark)
    gaps = sorted((gap.after, gap.through) for gap in journal.gaps)
    at, reach = 0, 0
    for offset, mark in stored:
        if offset <= start:
            continue
        while at < len(gaps) and gaps[at][0] < offset:
            reach = max(reach, gaps[at][1])
            at += 1
        if offset > reach and offset not in journal.damaged:
            due.add(offset, mark)
    return due
