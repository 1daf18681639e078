"""How far the user of a subscription has got.

Owns which positions are to be saved. A position is committed in the order of delivery: committing an event stands for
everything before it in its channel and lane, and committing an earlier one afterwards changes nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from lanecast.core.position import Position
from lanecast.subscriber.core.items import Key


class Ledger:
    """Committed positions that wait to be saved."""

    def __init__(self) -> None:
        self.commits = 0
        """Commits since the positions were last taken to be saved."""
        self._serial = 0
        self._delivered: dict[Key, int] = {}
        self._committed: dict[Key, int] = {}
        self._unsaved: dict[Key, Position] = {}

    def delivered(self, key: Key) -> int:
        """Number a delivery; `commit` wants the number."""
        self._serial += 1
        self._delivered[key] = self._serial
        return self._serial

    def commit(self, key: Key, serial: int, position: Position) -> None:
        """Everything of `key` up to the delivery `serial` has been handled."""
        if serial <= self._committed.get(key, 0):
            return
        self._committed[key] = serial
        self._unsaved[key] = position
        self.commits += 1

    def move(self, key: Key, position: Position) -> None:
        """The cursor moves on without a delivery. Ignored while deliveries before it are uncommitted."""
        if self._delivered.get(key, 0) == self._committed.get(key, 0):
            self._unsaved[key] = position

    def move_all(self, positions: Mapping[Key, Position]) -> None:
        """Do `move` for several."""
        for key, position in positions.items():
            self.move(key, position)

    def take_unsaved(self) -> dict[Key, Position]:
        """Return the positions to save; `give_back` them where that fails."""
        unsaved, self._unsaved, self.commits = self._unsaved, {}, 0
        return unsaved

    def give_back(self, positions: Mapping[Key, Position]) -> None:
        """Keep positions that could not be saved, unless there are newer ones."""
        for key, position in positions.items():
            self._unsaved.setdefault(key, position)
