"""The sales floor: several agents in conversations at the same time, one turn after another.

Owns who talks next. Pure: the same seed gives the same floor. Called by `main.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from corpus import Conversation, Turn

AGENTS = ("42", "7", "19", "23")
"""Agent 42 is always on the floor: that is who the page looks over the shoulder of."""


def agents_of(number: int) -> tuple[str, ...]:
    """Return the agents of a floor of that size: the four first, then whoever has the next free number."""
    others = (str(each) for each in count(1) if str(each) not in AGENTS)
    return (*AGENTS, *islice(others, max(0, number - len(AGENTS))))[:number]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A turn, with where it was said."""

    agent: str
    conversation: Conversation
    conversation_id: str
    number: int
    """From 1."""
    turn: Turn


class Floor:
    """Deals conversations to agents and lets all of them go on concurrently."""

    def __init__(self, conversations: Sequence[Conversation], seed: int, agents: Sequence[str] = AGENTS) -> None:
        self._conversations = conversations
        self._random = random.Random(seed)
        self._agents = agents
        self._deck: list[Conversation] = []
        self._dealt = 0

    def turns(self) -> Iterator[Spoken]:
        """Yield turns for ever. Whose turn it is varies, but nobody waits for longer than two rounds."""
        talks = {agent: self._talk(agent) for agent in self._agents}
        while True:
            for agent in self._random.sample(self._agents, len(self._agents)):
                spoken = next(talks[agent], None)
                if spoken is None:
                    talks[agent] = self._talk(agent)
                    spoken = next(talks[agent])
                yield spoken

    def _talk(self, agent: str) -> Iterator[Spoken]:
        conversation, identity = self._deal()
        for number, turn in enumerate(conversation.turns, start=1):
            yield Spoken(agent, conversation, identity, number, turn)

    def _deal(self) -> tuple[Conversation, str]:
        if not self._deck:
            self._deck = self._random.sample(self._conversations, len(self._conversations))
        self._dealt += 1
        conversation = self._deck.pop()
        return conversation, f"{conversation.name}-{self._dealt}"
