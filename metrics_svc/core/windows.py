"""What happened when: values per series in slots of time, coarser as they grow older.

Owns the tiers of slots, their roll-up and their expiry, and answers for any stretch of time up to now by merging.
Seconds since the Unix epoch are the unit of time; the caller brings them. Used by `telemetry`.

Each tier keeps a fixed number of slots. A coarse slot is made of the finer ones once it has been over for
`SETTLE_SECONDS`; what arrives later than that is added to every tier that is already made, so an answer never depends
on when a value came. Memory is bounded by series times slots, with a few hundred bytes for a histogram of a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lanecast.core.sketch import Sketch
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.packed import PackedSketch, merge
from metrics_svc.core.series import Series, Value

TIERS: tuple[tuple[int, int], ...] = ((1, 130), (10, 66), (60, 70), (600, 150), (3600, 80), (21_600, 126))
"""Seconds in a slot and number of slots, finest first: a little more than 2 min, 10 min, 1 h, 24 h, 3 and 31 days."""
SETTLE_SECONDS = 5
FUTURE_SECONDS = 60
"""How far ahead of the clock a slot may lie before it is removed as an artefact of a clock that was set back."""

Slot = dict[Series, Value]


class _Tier:
    __slots__ = ("made_until", "slots", "span", "width")

    def __init__(self, width: int, number: int) -> None:
        self.width = width
        self.span = width * number
        self.slots: dict[int, Slot] = {}
        """By the second a slot begins."""
        self.made_until = 0
        """Slots that end by then hold everything; the rest is in finer tiers."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time and the slots that make it up."""

    start: int
    """First second."""
    end: int
    """Second after the last."""
    slots: tuple[Slot, ...]
    """Oldest first."""

    @property
    def seconds(self) -> int:
        """Length in seconds, at least 1."""
        return max(1, self.end - self.start)

    def sketch(self, series: Iterable[Series]) -> Sketch:
        """Return one histogram of everything that several histogram series counted."""
        wanted = list(series)
        total = Sketch()
        for slot in self.slots:
            for one in wanted:
                value = slot.get(one)
                if isinstance(value, PackedSketch):
                    value.add_to(total)
        return total

    def total(self, series: Iterable[Series]) -> float:
        """Return what several counter series grew by."""
        wanted = list(series)
        return sum(_number(slot.get(one)) for slot in self.slots for one in wanted)

    def last(self, series: Series) -> float | None:
        """Return the last value of a gauge series; None where it was not reported."""
        for slot in reversed(self.slots):
            if series in slot:
                return _number(slot[series])
        return None


class Windows:
    """All slots of all series."""

    def __init__(self, now: int, tiers: tuple[tuple[int, int], ...] = TIERS) -> None:
        self._tiers = [_Tier(width, number) for width, number in tiers]
        for tier in self._tiers[1:]:
            tier.made_until = _floor(now, tier.width)
        self._origin = now
        self._changed: set[tuple[int, int]] = set()

    @property
    def retention_seconds(self) -> int:
        """How long anything is kept."""
        return self._tiers[-1].span

    @property
    def origin(self) -> int:
        """The first second that anything may be kept of."""
        return self._origin

    def statistics(self) -> dict[str, int]:
        """Return the number of slots and of values in them."""
        slots = [slot for tier in self._tiers for slot in tier.slots.values()]
        return {"slots": len(slots), "values": sum(map(len, slots))}

    def add(self, series: Series, second: int, value: Value, now: int) -> bool:
        """Add a value that was measured in `second`; say whether it is still within the time that is kept."""
        kept = False
        for index, tier in enumerate(self._tiers):
            begin = _floor(second, tier.width)
            if begin <= now - tier.span:
                continue
            if index and begin + tier.width > tier.made_until:
                continue  # it is made of finer slots later
            slot = tier.slots.setdefault(begin, {})
            slot[series] = _combine(series.kind, slot.get(series), value)
            self._changed.add((tier.width, begin))
            kept = True
        if kept:
            self._origin = min(self._origin, second)
        return kept

    def take_back(self, series: Series, second: int, value: Value) -> None:
        """Undo an `add` of a histogram or counter, wherever its value is still kept."""
        for tier in self._tiers:
            begin = _floor(second, tier.width)
            slot = tier.slots.get(begin)
            present = slot.get(series) if slot is not None else None
            if slot is None or present is None:
                continue
            self._changed.add((tier.width, begin))
            if isinstance(present, PackedSketch) and isinstance(value, PackedSketch):
                slot[series] = present.without(value)
            elif not isinstance(present, PackedSketch) and not isinstance(value, PackedSketch):
                slot[series] = present - value

    def advance(self, now: int) -> None:
        """Make the coarse slots that are due, and remove what is too old or, after a jump of the clock, too new."""
        for finer, coarser in zip(self._tiers, self._tiers[1:], strict=False):
            made = _roll_up(finer, coarser, _floor(now - SETTLE_SECONDS, coarser.width))
            self._changed.update((coarser.width, begin) for begin in made)
        for tier in self._tiers:
            low, high = now - tier.span, now + FUTURE_SECONDS
            for begin in [begin for begin in tier.slots if begin <= low or begin > high]:
                del tier.slots[begin]
                self._changed.add((tier.width, begin))

    def take_changes(self) -> dict[tuple[int, int], Slot | None]:
        """Return the slots that have changed since the last call, by width and begin; None: it is no longer kept."""
        changed, self._changed = self._changed, set()
        return {(tier.width, begin): tier.slots.get(begin) for tier in self._tiers for begin in _of(changed, tier)}

    def all_slots(self) -> dict[tuple[int, int], Slot | None]:
        """Return every slot, as `take_changes` does if everything has changed."""
        self._changed = set()
        return {(tier.width, begin): slot for tier in self._tiers for begin, slot in tier.slots.items()}

    def made_until(self) -> dict[int, int]:
        """Return, by width, until when the slots of each tier hold everything."""
        return {tier.width: tier.made_until for tier in self._tiers}

    def restore(self, slots: Mapping[tuple[int, int], Slot], made_until: Mapping[int, int], now: int) -> None:
        """Go on from what `take_changes` and `made_until` have once returned. Called before anything is added."""
        for tier in self._tiers[1:]:
            tier.made_until = min(tier.made_until, made_until.get(tier.width, tier.made_until))
        for tier in self._tiers:
            tier.slots = {begin: slot for (width, begin), slot in slots.items() if width == tier.width}
            self._origin = min(self._origin, *tier.slots) if tier.slots else self._origin
        self.advance(now)

    def forget(self, gone: Iterable[Series]) -> None:
        """Remove every value of some series."""
        for series in gone:
            for tier in self._tiers:
                for slot in tier.slots.values():
                    slot.pop(series, None)

    def span(self, start: int, end: int, now: int) -> Span:
        """Return the stretch from `start` to `end` (excluded), begun later where slots or data do not reach back.

        An old start is moved forward to the next slot: by less than 10 s within 10 minutes, less than a minute within
        an hour, ten minutes within a day, an hour within three, six hours beyond. An end as old as that is moved back
        in the same way.
        """
        start = self._aligned(start, min(self._origin, end - 1), now)
        slots: list[Slot] = []
        position = start
        while position < end:
            tier = self._widest(position, end, now)
            if tier is None:
                break
            slot = tier.slots.get(position)
            if slot:
                slots.append(slot)
            position += tier.width
        return Span(start, position, tuple(slots))

    def _aligned(self, start: int, origin: int, now: int) -> int:
        """Return the first slot at or after `start`, or the one that holds `origin` where nothing is older."""
        for tier in self._tiers:
            first = -_floor(-start, tier.width) if start > origin else _floor(origin, tier.width)
            if min(first, max(start, origin)) > now - tier.span:
                return first
        oldest = self._tiers[-1]
        return -_floor(-(now - oldest.span + 1), oldest.width)

    def _widest(self, position: int, end: int, now: int) -> _Tier | None:
        for tier in reversed(self._tiers):
            over = position + tier.width
            made = tier is self._tiers[0] or over <= tier.made_until
            if made and over <= end and position % tier.width == 0 and position > now - tier.span:
                return tier
        return None


def _of(changed: set[tuple[int, int]], tier: _Tier) -> Iterator[int]:
    return (begin for width, begin in changed if width == tier.width)


def _roll_up(finer: _Tier, coarser: _Tier, until: int) -> Iterable[int]:
    groups: dict[int, list[Slot]] = {}
    for begin in sorted(finer.slots):
        if coarser.made_until <= begin < until:
            groups.setdefault(_floor(begin, coarser.width), []).append(finer.slots[begin])
    for begin, slots in groups.items():
        coarser.slots[begin] = _merge_slots(slots)
    coarser.made_until = max(coarser.made_until, until)
    return groups


def _merge_slots(slots: list[Slot]) -> Slot:
    found: dict[Series, list[Value]] = {}
    for slot in slots:
        for series, value in slot.items():
            found.setdefault(series, []).append(value)
    return {series: _merge_values(series.kind, values) for series, values in found.items()}


def _merge_values(kind: Kind, values: list[Value]) -> Value:
    if kind is Kind.HISTOGRAM:
        return merge(value for value in values if isinstance(value, PackedSketch))
    return sum(map(_number, values)) if kind is Kind.COUNTER else values[-1]


def _combine(kind: Kind, present: Value | None, value: Value) -> Value:
    return value if present is None else _merge_values(kind, [present, value])


def _number(value: Value | None) -> float:
    return 0 if value is None or isinstance(value, PackedSketch) else value


def _floor(second: int, width: int) -> int:
    return second - second % width
