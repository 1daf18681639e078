"""The four lanes and their budgets.

Owns the order of lanes and their default budgets. Used by every other module; imports nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from lanecast.v1 import event_pb2

_PREFIX = "PRIORITY_"


class Priority(IntEnum):
    """The lane an event travels in. The number is the one on the wire (`lanecast.v1.Priority`), not a rank."""

    CRITICAL = 1
    HIGH = 2
    NORMAL = 3
    LOW = 4

    @classmethod
    def parse(cls, text: str) -> Priority:
        """Return the lane called `text`: `CRITICAL`, `critical` and `PRIORITY_CRITICAL` all work.

        Raises:
            ValueError: there is no such lane; the message names the four.
        """
        try:
            return cls[text.strip().upper().removeprefix(_PREFIX)]
        except KeyError:
            names = ", ".join(lane.name for lane in LANES)
            raise ValueError(f"unknown lane {text!r}: use one of {names}") from None

    @property
    def wire_name(self) -> str:
        """Name of the value in the contracts, for example `PRIORITY_CRITICAL`."""
        return _PREFIX + self.name

    @property
    def wire_value(self) -> event_pb2.Priority.ValueType:
        """The number, typed as the generated code wants it."""
        return cast("event_pb2.Priority.ValueType", self.value)


LANES: tuple[Priority, ...] = (Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW)
"""All lanes, most urgent first."""

EXPRESS_LANES = (Priority.CRITICAL, Priority.HIGH)
"""Lanes that overtake: they have a stream of their own between services."""

BULK_LANES = (Priority.NORMAL, Priority.LOW)
"""Lanes that make room for the express lanes."""

BUDGET_SECONDS: dict[Priority, float] = {
    Priority.CRITICAL: 0.001,
    Priority.HIGH: 0.005,
    Priority.NORMAL: 0.010,
    Priority.LOW: 0.050,
}
"""Longest time from publisher accept to edge socket write that a lane promises, in seconds."""
