"""The handoff protocol of one bot: who owns a conversation, and how it changes hands.

Owns the decision and nothing else: plain synchronous code that takes messages and the time and returns the messages to
send. No network, no clock, no files. Called by `bot.py`, which keeps `Desk.to_json()` on disk before it sends anything.

    sender                         receiver
      │ ── OFFERED ──────────────────▶ │   again and again until there is an answer or the offer lapses
      │ ◀───────────────── ACCEPTED ── │   again and again until the decision is known    (or DECLINED: nothing changes)
      │ ── CONFIRMED ────────────────▶ │   the sender lets go; the receiver owns it from when it reads this
      │ ── TIMED_OUT ────────────────▶ │   the sender keeps it

Messages may be lost, doubled and overtake one another, and either side may restart; still there are never two owners:

- Only the sender decides, once per handoff: CONFIRMED or TIMED_OUT. It never takes that back, and it answers every
  further ACCEPTED with the same decision.
- The sender lets go before CONFIRMED leaves, the receiver takes it after CONFIRMED has come. In between nobody owns the
  conversation, for as long as one message takes; if that message is lost, the next ACCEPTED brings another.
- A receiver that accepted waits for the decision however long it takes: the conversation may already be its own.
- A receiver forgets a handoff it has taken only when the offer has lapsed, since a lapsed offer is never accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

REMEMBERED = 500
"""Confirmed handoffs that a sender can still repeat. More than all receivers together can be waiting for."""


class Step(StrEnum):
    """One step of a handoff."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    CONFIRMED = "confirmed"
    TIMED_OUT = "timed_out"


FROM_RECEIVER = frozenset({Step.ACCEPTED, Step.DECLINED})


@dataclass(frozen=True, slots=True)
class Line:
    """One turn of a conversation."""

    speaker: str
    text: str
    at: float
    """When it was said, in seconds of the clock that all bots share."""


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation as its owner has it."""

    id: str
    hop: int
    """How often it has been handed over."""
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """What goes from bot to bot."""

    handoff_id: str
    sender: str
    """The bot that gives the conversation away, in every step."""
    receiver: str
    step: Step
    talk: Talk
    """With the hop it has once it is handed over."""
    deadline: float
    """When the offer lapses, in seconds of the clock that all bots share."""
    reason: str = ""
    summary: str = ""
    """What the receiver needs to know."""

    @property
    def addressee(self) -> str:
        """The bot that this step is meant for."""
        return self.sender if self.step in FROM_RECEIVER else self.receiver


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a bot is, in seconds."""

    retry: float = 1.0
    """After which a message without an answer is sent again."""
    timeout: float = 5.0
    """After which an offer without an answer lapses."""


@dataclass(slots=True)
class Pending:
    """A message that waits for an answer."""

    message: Message
    next_try: float


@dataclass(slots=True)
class Counts:
    """What a bot has done, since its state began."""

    opened: int = 0
    closed: int = 0
    offered: int = 0
    retried: int = 0
    taken: int = 0
    confirmed: int = 0
    declined: int = 0
    timed_out: int = 0
    repeats: int = 0
    """Messages that came again and were ignored, or answered as before."""


@dataclass(slots=True)
class Desk:
    """All that a bot knows. Every method leaves it consistent; what it returns may be lost without harm."""

    name: str
    timing: Timing = field(default_factory=Timing)
    capacity: int = 8
    """Conversations it owns or has promised to take, at most."""
    owned: dict[str, Talk] = field(default_factory=dict)
    offers: dict[str, Pending] = field(default_factory=dict)
    """Own offers without a decision, by conversation: still owned, but not talked in."""
    promised: dict[str, Pending] = field(default_factory=dict)
    """Own acceptances without a decision, by handoff."""
    given: dict[str, None] = field(default_factory=dict)
    """Handoffs confirmed to others, oldest first."""
    taken: dict[str, float] = field(default_factory=dict)
    """Handoffs taken from others, with the time their offer lapses."""
    serial: int = 0
    counts: Counts = field(default_factory=Counts)

    # What the bot does of its own accord

    def open(self, talk_id: str) -> None:
        """Begin a conversation."""
        self.owned[talk_id] = Talk(talk_id, hop=0)
        self.counts.opened += 1

    def say(self, talk_id: str, lines: Iterable[Line]) -> None:
        """Add turns to a conversation that is owned and not on offer."""
        talk = self.owned[talk_id]
        self.owned[talk_id] = replace(talk, lines=(*talk.lines, *lines))

    def close(self, talk_id: str) -> None:
        """End a conversation that is owned and not on offer."""
        del self.owned[talk_id]
        self.counts.closed += 1

    def offer(self, talk_id: str, receiver: str, now: float, *, reason: str = "", summary: str = "") -> list[Message]:
        """Offer an owned conversation to another bot."""
        talk = self.owned[talk_id]
        if talk_id in self.offers:
            raise ValueError(f"{talk_id} is on offer already")
        self.serial += 1
        message = Message(
            handoff_id=f"{talk_id}-{talk.hop + 1}-{self.name}-{self.serial}",
            sender=self.name,
            receiver=receiver,
            step=Step.OFFERED,
            talk=replace(talk, hop=talk.hop + 1),
            deadline=now + self.timing.timeout,
            reason=reason,
            summary=summary,
        )
        self.offers[talk_id] = Pending(message, now + self.timing.retry)
        self.counts.offered += 1
        return [message]

    @property
    def idle_talks(self) -> list[str]:
        """Conversations that are owned and not on offer."""
        return [talk_id for talk_id in self.owned if talk_id not in self.offers]

    @property
    def has_room(self) -> bool:
        """Whether another conversation fits."""
        return len(self.owned) + len(self.promised) < self.capacity

    @property
    def settled(self) -> bool:
        """Whether no handoff is under way here."""
        return not self.offers and not self.promised

    # What comes from outside

    def receive(self, message: Message, now: float) -> list[Message]:
        """Take in a message; those for other bots change nothing."""
        if message.addressee != self.name:
            return []
        match message.step:
            case Step.OFFERED:
                return self._offered(message, now)
            case Step.ACCEPTED:
                return self._accepted(message)
            case Step.DECLINED:
                return self._declined(message)
            case Step.CONFIRMED:
                return self._confirmed(message)
            case Step.TIMED_OUT:
                self.promised.pop(message.handoff_id, None)
                return []

    def tick(self, now: float) -> list[Message]:
        """Let offers lapse, and send again what waits for an answer."""
        self.taken = {handoff: deadline for handoff, deadline in self.taken.items() if deadline >= now}
        lapsed = [pending.message for pending in self.offers.values() if pending.message.deadline < now]
        for message in lapsed:
            del self.offers[message.talk.id]
            self.counts.timed_out += 1
        waiting = [*self.offers.values(), *self.promised.values()]
        due = [pending for pending in waiting if pending.next_try <= now]
        for pending in due:
            pending.next_try = now + self.timing.retry
            self.counts.retried += 1
        return [replace(message, step=Step.TIMED_OUT) for message in lapsed] + [pending.message for pending in due]

    # As receiver

    def _offered(self, message: Message, now: float) -> list[Message]:
        handoff = message.handoff_id
        if message.deadline < now:
            return []  # the sender keeps it; accepting now could take a conversation a second time
        if handoff in self.taken:
            self.counts.repeats += 1
            return []
        if handoff in self.promised:
            self.counts.repeats += 1
            return [self.promised[handoff].message]
        if not self.has_room:
            self.counts.declined += 1
            return [replace(message, step=Step.DECLINED)]
        answer = replace(message, step=Step.ACCEPTED)
        self.promised[handoff] = Pending(answer, now + self.timing.retry)
        return [answer]

    def _confirmed(self, message: Message) -> list[Message]:
        promise = self.promised.pop(message.handoff_id, None)
        if promise is None:
            self.counts.repeats += 1
            return []
        talk = promise.message.talk
        self.owned[talk.id] = talk
        self.taken[message.handoff_id] = message.deadline
        self.counts.taken += 1
        return []

    # As sender

    def _accepted(self, message: Message) -> list[Message]:
        handoff = message.handoff_id
        if self._is_pending(message):
            del self.offers[message.talk.id]
            del self.owned[message.talk.id]
            self.counts.confirmed += 1
        elif handoff in self.given:
            self.counts.repeats += 1
        else:
            return [replace(message, step=Step.TIMED_OUT)]
        self._remember_given(handoff)
        return [replace(message, step=Step.CONFIRMED)]

    def _declined(self, message: Message) -> list[Message]:
        if self._is_pending(message):
            del self.offers[message.talk.id]
        return []

    def _is_pending(self, message: Message) -> bool:
        pending = self.offers.get(message.talk.id)
        return pending is not None and pending.message.handoff_id == message.handoff_id

    def _remember_given(self, handoff: str) -> None:
        self.given.pop(handoff, None)
        self.given[handoff] = None
        while len(self.given) > REMEMBERED:
            del self.given[next(iter(self.given))]

    # On disk

    def to_json(self) -> str:
        """Return all of it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Desk:
        """Return what `to_json` has written."""
        values: dict[str, Any] = json.loads(text)
        return cls(
            name=values["name"],
            timing=Timing(**values["timing"]),
            capacity=values["capacity"],
            owned={key: _talk(talk) for key, talk in values["owned"].items()},
            offers={key: _pending(pending) for key, pending in values["offers"].items()},
            promised={key: _pending(pending) for key, pending in values["promised"].items()},
            given=values["given"],
            taken=values["taken"],
            serial=values["serial"],
            counts=Counts(**values["counts"]),
        )


def _talk(values: dict[str, Any]) -> Talk:
    return Talk(values["id"], values["hop"], tuple(Line(**line) for line in values["lines"]))


def _pending(values: dict[str, Any]) -> Pending:
    message = values["message"]
    step, talk = Step(message["step"]), _talk(message["talk"])
    return Pending(Message(**{**message, "step": step, "talk": talk}), values["next_try"])
