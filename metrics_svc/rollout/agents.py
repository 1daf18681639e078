"""The publishers that serve an assignment.

Owns who is connected, what each has applied and what its arms hold. Filled by the StreamAssignments rpc, read by the
controller.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lanecast.core.bucketing import Arm
from lanecast.core.priority import Priority

Key = tuple[Priority, Arm]


@dataclass(slots=True)
class Agent:
    """What one publisher has said last."""

    name: str
    generation: int = 0
    policy: str = ""
    channels: dict[Key, int] = field(default_factory=dict)
    dropped: dict[Key, int] = field(default_factory=dict)
    misassigned: int = 0


class Agents:
    """All publishers that are connected now."""

    def __init__(self) -> None:
        self._streams: dict[object, Agent] = {}

    def report(self, stream: object, agent: Agent) -> None:
        """Take in what a publisher says on its stream. A newer stream of the same publisher replaces an older one."""
        for other, known in list(self._streams.items()):
            if known.name == agent.name and other is not stream:
                del self._streams[other]
        self._streams[stream] = agent

    def leave(self, stream: object) -> None:
        """Forget a stream that has ended."""
        self._streams.pop(stream, None)

    def applied(self) -> dict[str, int]:
        """Return the generation that each has applied."""
        return {agent.name: agent.generation for agent in self._streams.values()}

    def policies(self) -> dict[str, str]:
        """Return the policy each serves without a rollout."""
        return {agent.name: agent.policy for agent in self._streams.values()}

    def channels(self, generation: int | None = None) -> Counter[Key]:
        """Return active channels per lane and arm, at publishers on a generation or on any."""
        return self._sum("channels", generation)

    def dropped(self, generation: int) -> Counter[Key]:
        """Return events whose time to live ended in a queue, likewise."""
        return self._sum("dropped", generation)

    def misassigned(self, generation: int) -> int:
        """Return how many channels are served in a wrong arm."""
        return sum(agent.misassigned for agent in self._streams.values() if agent.generation == generation)

    def _sum(self, name: str, generation: int | None) -> Counter[Key]:
        found: Counter[Key] = Counter()
        for agent in self._streams.values():
            if generation is None or agent.generation == generation:
                found.update(getattr(agent, name))
        return found
