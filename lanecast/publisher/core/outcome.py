"""What became of events: stored, mostly many in a row, or failed.

Owns these records. Made by `lanecast.publisher.core.outbox`, carried out by the client. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lanecast.errors import PublishError
from lanecast.publisher.core.ack import Ack
from lanecast.publisher.core.entry import Entry

_new_ack = tuple.__new__
"""Makes an `Ack` of its fields in half the time that `Ack(…)` takes; there is one for each event."""


class Stored(NamedTuple):
    """Events that are in the log."""

    entries: Sequence[Entry]
    offsets: Sequence[int]
    epoch: str
    duplicate: bool = False

    def acks(self) -> list[Ack]:
        """Return what the user is told of each."""
        epoch, duplicate = self.epoch, self.duplicate
        return [
            _new_ack(Ack, (entry.id, entry.chain.channel, epoch, offset, duplicate))
            for entry, offset in zip(self.entries, self.offsets, strict=True)
        ]


class Failed(NamedTuple):
    """An event that was refused for good, or that nobody waits for any more."""

    entry: Entry
    error: PublishError


Outcome = Stored | Failed
