"""The conversations: reading `corpus.txt`.

Owns the file's format. Knows no classifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus.txt")
AGENT = "agent"
OTHER = "other"
"""Label of a customer's turn that is no coaching moment."""
KINDS = ("buying", "leaving", "objection", OTHER, "question", "rule")
"""Labels of a customer's turn, in alphabetical order as the classifier has them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    kind: str
    """`agent`, or one of `KINDS` where the customer speaks."""
    text: str

    @property
    def by_customer(self) -> bool:
        """Whether the customer says it."""
        return self.kind != AGENT


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation from beginning to end."""

    business: str
    """What is sold. Conversations of one business share vocabulary and are never split between training and test."""
    customer: str
    turns: tuple[Turn, ...]

    @property
    def name(self) -> str:
        """Identifies the conversation in the corpus, for example `used-cars-amina`."""
        return f"{self.business}-{self.customer}".lower().replace(" ", "-")


def load(path: Path = CORPUS) -> list[Conversation]:
    """Read the corpus.

    Raises:
        ValueError: a line is not of the format; says which.
    """
    lines = [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    conversations: list[Conversation] = []
    turns: list[Turn] = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("== "):
            business, slash, customer = line[3:].partition(" / ")
            if not slash:
                raise ValueError(f"{path.name}:{number}: expected `== business / customer`")
            turns = []
            conversations.append(Conversation(business, customer, ()))
        else:
            turns.append(_turn(line, f"{path.name}:{number}"))
            conversations[-1] = Conversation(conversations[-1].business, conversations[-1].customer, tuple(turns))
    return conversations


def _turn(line: str, where: str) -> Turn:
    kind, arrow, text = line.partition("> ")
    if not arrow or (kind != AGENT and kind not in KINDS):
        raise ValueError(f"{where}: expected `agent> …` or one of {', '.join(KINDS)}")
    return Turn(kind, text)
