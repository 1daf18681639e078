"""Which policy each channel is on.

Owns the assignment that is in force, what it makes of each channel, and the counts that the controller asks for. Asked
once per channel and generation by the subscribing streams and by ingest, which keep the answer; changed by the shell
that hears from the controller. Pure.

Without a controller the assignment stays as it is, and a process that never had one serves its own policy to all: so
what nobody controls never grows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from lanecast.core.bucketing import BUCKETS, Arm, arm_of, bucket
from lanecast.core.channel import is_reserved
from lanecast.core.policy import Policy
from lanecast.core.priority import Priority

MAX_CHANNELS = 100_000
"""Channels whose arm is kept; beyond, it is computed again."""
CHECKED_AT_ONCE = 256
"""Channels whose arm is checked in one go, which takes about 0.1 ms."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the controller says."""

    generation: int
    salt: str
    exposure: int
    """Hundredths of a percent of all channels."""
    baseline: Policy
    candidate: Policy
    pinned: frozenset[str] = frozenset()


class Arms:
    """The assignment in force."""

    def __init__(self, policy: Policy) -> None:
        self._own = policy
        self._assignment: Assignment | None = None
        self._known: dict[str, Arm] = {}
        self.policies: tuple[Policy, ...] = (policy,)
        """Of the baseline and, once there is one, of the candidate."""
        self.generation = 0
        """Zero: no controller has ever spoken."""
        self._channels: dict[tuple[Priority, Arm], set[str]] = {}
        self._served: dict[tuple[str, Priority], tuple[str, Arm]] = {}
        self._dropped: Counter[tuple[Priority, Arm]] = Counter()
        self._unchecked: list[tuple[str, Arm]] = []
        self._misassigned = 0

    @property
    def own_policy(self) -> str:
        """Name of the policy without any rollout."""
        return self._own.name

    def apply(self, assignment: Assignment) -> bool:
        """Put an assignment in force; False where one as new is already."""
        if assignment.generation <= self.generation:
            return False
        self._assignment = assignment
        self.policies = (assignment.baseline, assignment.candidate)
        self.generation = assignment.generation
        self._known.clear()
        self._channels.clear()
        self._served.clear()
        self._dropped.clear()
        self._unchecked.clear()
        self._misassigned = 0
        return True

    def arm(self, channel: str) -> Arm:
        """Return the arm of a channel."""
        arm = self._known.get(channel)
        if arm is None:
            arm = self._compute(channel)
            if len(self._known) < MAX_CHANNELS:
                self._known[channel] = arm
        return arm

    def index(self, channel: str) -> int:
        """Return the place of the channel's policy in `policies`."""
        arm = self.arm(channel)
        if arm is Arm.REST and self._complete and is_reserved(channel):
            return 1  # synthetic events take part in no comparison, and go the way of all others once that is one way
        return 1 if arm is Arm.CANDIDATE else 0

    def order(self, turn: int) -> tuple[int, ...]:
        """Return the places in `policies` in the order in which they fill a message: nobody is always the first."""
        if len(self.policies) == 1:
            return _ONE
        return _FORWARD if turn % 2 else _BACKWARD

    def serve(self, channel: str, lane: Priority) -> tuple[str, Arm]:
        """Return policy and arm to stamp on the batches of a channel, and count the channel as active in the lane."""
        key = (channel, lane)
        served = self._served.get(key)
        if served is None:
            served = self._serve(channel, lane)
            if len(self._served) < MAX_CHANNELS:
                self._served[key] = served
        return served

    def _serve(self, channel: str, lane: Priority) -> tuple[str, Arm]:
        arm = self.arm(channel)
        if not is_reserved(channel):
            channels = self._channels.setdefault((lane, arm), set())
            if len(channels) < MAX_CHANNELS:
                channels.add(channel)
        return self.policies[self.index(channel)].name, arm

    def dropped(self, channel: str, lane: Priority, events: int) -> None:
        """Count events that one subscriber does not get."""
        self._dropped[lane, self.arm(channel)] += events

    def counts(self) -> dict[tuple[Priority, Arm], tuple[int, int]]:
        """Return active channels and dropped events per lane and arm."""
        keys = {*self._channels, *self._dropped}
        return {key: (len(self._channels.get(key, ())), self._dropped[key]) for key in keys}

    def misassigned(self) -> int:
        """Check some more of the channels that are kept; return how many ever had another arm than they should."""
        if not self._unchecked:
            self._unchecked = list(self._known.items())
        for channel, arm in self._unchecked[-CHECKED_AT_ONCE:]:
            if self._known.get(channel) is arm and self._compute(channel) is not arm:
                self._misassigned += 1
        del self._unchecked[-CHECKED_AT_ONCE:]
        return self._misassigned

    @property
    def _complete(self) -> bool:
        return self._assignment is not None and self._assignment.exposure == BUCKETS

    def _compute(self, channel: str) -> Arm:
        assignment = self._assignment
        if assignment is None or is_reserved(channel):
            return Arm.REST
        number = bucket(assignment.salt, channel)
        return arm_of(number, assignment.exposure, pinned=channel in assignment.pinned)


_ONE, _FORWARD, _BACKWARD = (0,), (0, 1), (1, 0)
