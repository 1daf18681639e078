"""Follows all handoffs from outside and finds those that were lost or doubled.

Owns the ownership rule as a fold over the log's order. Pure; called by `main.py` with every event of the channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from handoff import Desk, Message, Step


@dataclass(slots=True)
class _Handoff:
    message: Message
    decision: Step | None = None
    """CONFIRMED or TIMED_OUT, which the sender says; None: not said yet."""
    declined: bool = False


@dataclass(slots=True)
class _Holder:
    bot: str
    hop: int


@dataclass(slots=True)
class Audit:
    """What the events say, one by one in log order."""

    confirmed: int = 0
    declined: int = 0
    timed_out: int = 0
    repeats: int = 0
    """Steps that came more than once, as they do when a bot tries again."""
    doubled: list[str] = field(default_factory=list)
    """Handoffs by which a conversation would have got a second owner, with the reason."""
    _open: dict[str, _Handoff] = field(default_factory=dict)
    _holders: dict[str, _Holder] = field(default_factory=dict)

    def see(self, message: Message) -> None:
        """Take in the next event."""
        match message.step:
            case Step.OFFERED:
                self._offered(message)
            case Step.CONFIRMED | Step.TIMED_OUT:
                self._decided(message)
            case Step.DECLINED:
                self._declined(message)
            case Step.ACCEPTED:
                pass  # changes nothing: the sender decides

    def lost(self, now: float, patience: float) -> list[str]:
        """Return the handoffs without a decision whose offer lapsed more than `patience` seconds ago."""
        return [
            handoff
            for handoff, seen in self._open.items()
            if not seen.decision and not seen.declined and seen.message.deadline + patience < now
        ]

    def forget(self, now: float, after: float = 600) -> None:
        """Forget handoffs that were decided, or declined, long ago, so that memory stays bounded."""
        ended = [(handoff, seen) for handoff, seen in self._open.items() if seen.decision or seen.declined]
        for handoff in [handoff for handoff, seen in ended if seen.message.deadline + after < now]:
            talk = self._open.pop(handoff).message.talk.id
            if not any(seen.message.talk.id == talk for seen in self._open.values()):
                self._holders.pop(talk, None)

    def _offered(self, message: Message) -> None:
        if message.handoff_id in self._open:
            self.repeats += 1
            return
        self._open[message.handoff_id] = _Handoff(message)
        holder = self._holders.setdefault(message.talk.id, _Holder(message.sender, message.talk.hop - 1))
        if (holder.bot, holder.hop) != (message.sender, message.talk.hop - 1):
            self.doubled.append(f"{message.handoff_id}: {message.sender} offers what {holder.bot} owns")

    def _declined(self, message: Message) -> None:
        seen = self._open.setdefault(message.handoff_id, _Handoff(message))
        if seen.declined:
            self.repeats += 1
        else:
            seen.declined = True
            self.declined += 1

    def _decided(self, message: Message) -> None:
        seen = self._open.setdefault(message.handoff_id, _Handoff(message))
        if seen.decision is message.step:
            self.repeats += 1
            return
        if seen.decision is not None:
            self.doubled.append(f"{message.handoff_id}: first {seen.decision}, then {message.step}")
            return
        seen.decision = message.step
        if message.step is Step.TIMED_OUT:
            self.timed_out += 1
        else:
            self._handed_over(message)

    def _handed_over(self, message: Message) -> None:
        self.confirmed += 1
        holder = self._holders.setdefault(message.talk.id, _Holder(message.sender, message.talk.hop - 1))
        if (holder.bot, holder.hop) != (message.sender, message.talk.hop - 1):
            self.doubled.append(f"{message.handoff_id}: {message.sender} gives away what {holder.bot} owns")
        self._holders[message.talk.id] = _Holder(message.receiver, message.talk.hop)


def owners_at_the_end(desks: Sequence[Desk]) -> list[str]:
    """Compare what the bots themselves say; return one sentence per broken rule."""
    problems = []
    owned = [talk for desk in desks for talk in desk.owned]
    problems += [f"{talk} has {owned.count(talk)} owners" for talk in sorted(set(owned)) if owned.count(talk) > 1]
    under_way = sum(handoff in giver.given for desk in desks for handoff in desk.promised for giver in desks)
    opened = sum(desk.counts.opened for desk in desks)
    found = sum(desk.counts.closed for desk in desks) + len(owned) + under_way
    if opened != found:
        problems.append(f"{opened} conversations were opened, {found} are closed, owned or on their way")
    return problems


def summary(audit: Audit, desks: Iterable[Desk], restarts: int, lost: int, problems: int) -> str:
    """Return the summary that is printed at the end."""
    desks = list(desks)
    return (
        f"bots: {audit.confirmed} handed over, {audit.declined} declined, {audit.timed_out} timed out, "
        f"{sum(desk.counts.retried for desk in desks)} retries, {restarts} restarts; "
        f"{lost} lost, {len(audit.doubled)} doubled, {problems} broken rules"
    )
