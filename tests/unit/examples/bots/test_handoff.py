"""The handoff protocol under loss, doubling, reordering and restarts."""

from __future__ import annotations

import heapq
import random
from itertools import pairwise

import pytest
from handoff import REMEMBERED, Desk, Line, Message, Step, Talk, Timing
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

BOTS = ("triage", "sales", "support")


def desk(name: str, **options: int) -> Desk:
    return Desk(name, timing=Timing(retry=1, timeout=5), **options)


def offer(giver: Desk, receiver: Desk, talk: str = "t", now: float = 0.0) -> Message:
    giver.open(talk)
    (message,) = giver.offer(talk, receiver.name, now, reason="asks for a price")
    return message


class TestAHandoff:
    def test_moves_the_conversation_with_its_turns(self) -> None:
        giver, receiver = desk("triage"), desk("sales")
        giver.open("t")
        giver.say("t", [Line("customer", "hello", 0), Line("triage", "hi", 0)])
        (offered,) = giver.offer("t", "sales", 0, reason="asks for a price")
        (accepted,) = receiver.receive(offered, 0.1)
        assert giver.owned.keys() == {"t"}
        assert not receiver.owned
        (confirmed,) = giver.receive(accepted, 0.2)
        assert not giver.owned
        assert receiver.receive(confirmed, 0.3) == []
        assert receiver.owned["t"] == Talk("t", 1, (Line("customer", "hello", 0), Line("triage", "hi", 0)))
        assert [step.step for step in (offered, accepted, confirmed)] == [Step.OFFERED, Step.ACCEPTED, Step.CONFIRMED]
        assert len({step.handoff_id for step in (offered, accepted, confirmed)}) == 1

    def test_is_declined_by_a_full_desk_and_stays(self) -> None:
        giver, receiver = desk("triage"), desk("sales", capacity=1)
        receiver.open("other")
        (declined,) = receiver.receive(offer(giver, receiver), 0)
        assert declined.step is Step.DECLINED
        assert giver.receive(declined, 0) == []
        assert giver.idle_talks == ["t"]

    def test_counts_promises_as_capacity(self) -> None:
        giver, receiver = desk("triage"), desk("sales", capacity=1)
        first, second = offer(giver, receiver, "a"), offer(giver, receiver, "b")
        assert [receiver.receive(message, 0)[0].step for message in (first, second)] == [Step.ACCEPTED, Step.DECLINED]

    def test_is_offered_again_under_the_same_id_until_it_lapses(self) -> None:
        giver, receiver = desk("triage"), desk("sales")
        first = offer(giver, receiver)
        assert giver.tick(0.9) == []
        assert giver.tick(1.0) == [first]
        assert giver.tick(1.5) == []
        assert giver.tick(2.0) == [first]
        assert [message.step for message in giver.tick(5.1)] == [Step.TIMED_OUT]
        assert giver.idle_talks == ["t"]

    def test_accepted_after_it_lapsed_is_told_so(self) -> None:
        giver, receiver = desk("triage"), desk("sales")
        (accepted,) = receiver.receive(offer(giver, receiver), 0)
        giver.tick(6)
        (answer,) = giver.receive(accepted, 6)
        assert answer.step is Step.TIMED_OUT
        assert receiver.receive(answer, 6) == []
        assert receiver.settled
        assert not receiver.owned

    def test_that_lapsed_is_not_accepted(self) -> None:
        giver, receiver = desk("triage"), desk("sales")
        assert receiver.receive(offer(giver, receiver), 5.1) == []

    def test_whose_confirmation_is_lost_is_confirmed_again(self) -> None:
        giver, receiver = desk("triage"), desk("sales")
        (accepted,) = receiver.receive(offer(giver, receiver), 0)
        giver.receive(accepted, 0)
        assert receiver.tick(100) == [accepted]
        (again,) = giver.receive(accepted, 100)
        receiver.receive(again, 100)
        assert receiver.owned.keys() == {"t"}

    def test_whose_confirmation_comes_twice_is_taken_once(self) -> None:
        giver, receiver, third = desk("triage"), desk("sales"), desk("support")
        offered = offer(giver, receiver)
        (accepted,) = receiver.receive(offered, 0)
        (confirmed,) = giver.receive(accepted, 0)
        receiver.receive(confirmed, 0)
        (onward,) = receiver.offer("t", "support", 1)
        (answer,) = third.receive(onward, 1)
        receiver.receive(answer, 1)
        assert receiver.receive(offered, 2) == []
        assert receiver.receive(confirmed, 2) == []
        assert not receiver.owned
        assert receiver.counts.repeats == 2

    def test_for_somebody_else_is_ignored(self) -> None:
        giver, receiver = desk("triage"), desk("sales")
        assert desk("support").receive(offer(giver, receiver), 0) == []

    def test_cannot_start_while_another_is_under_way(self) -> None:
        giver, receiver = desk("triage"), desk("sales")
        offer(giver, receiver)
        with pytest.raises(ValueError, match="on offer already"):
            giver.offer("t", "support", 0)


def test_memory_of_confirmed_handoffs_is_bounded_and_keeps_the_newest() -> None:
    giver, receiver = desk("triage"), desk("sales", capacity=10_000)
    for number in range(REMEMBERED + 10):
        (accepted,) = receiver.receive(offer(giver, receiver, f"t{number}"), 0)
        giver.receive(accepted, 0)
    assert len(giver.given) == REMEMBERED
    assert giver.receive(accepted, 0)[0].step is Step.CONFIRMED


def test_memory_of_taken_handoffs_ends_when_the_offer_lapses() -> None:
    giver, receiver = desk("triage"), desk("sales")
    (accepted,) = receiver.receive(offer(giver, receiver), 0)
    receiver.receive(giver.receive(accepted, 0)[0], 0)
    receiver.tick(5)
    assert receiver.taken
    receiver.tick(5.1)
    assert not receiver.taken


class Handoffs(RuleBasedStateMachine):
    """Three bots and a network that does what it likes."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.desks = {name: desk(name, capacity=3) for name in BOTS}
        self.network: list[Message] = []
        self.opened = 0

    @rule()
    def open(self) -> None:
        if self.desks["triage"].has_room:
            self.opened += 1
            self.desks["triage"].open(f"t{self.opened}")

    @rule(giver=st.sampled_from(BOTS), receiver=st.sampled_from(BOTS), lost=st.booleans(), pick=st.randoms())
    def offer(self, giver: str, receiver: str, lost: bool, pick: random.Random) -> None:
        talks = self.desks[giver].idle_talks
        if giver != receiver and talks:
            self._send(self.desks[giver].offer(pick.choice(talks), receiver, self.now), lost)

    @rule(bot=st.sampled_from(BOTS), pick=st.randoms())
    def close(self, bot: str, pick: random.Random) -> None:
        if talks := self.desks[bot].idle_talks:
            self.desks[bot].close(pick.choice(talks))

    @precondition(lambda self: self.network)
    @rule(twice=st.booleans(), lost=st.booleans(), pick=st.randoms())
    def deliver(self, twice: bool, lost: bool, pick: random.Random) -> None:
        message = pick.choice(self.network)
        if not twice:
            self.network.remove(message)
        self._send(self.desks[message.addressee].receive(message, self.now), lost)

    @precondition(lambda self: self.network)
    @rule(pick=st.randoms())
    def lose(self, pick: random.Random) -> None:
        self.network.remove(pick.choice(self.network))

    @rule(bot=st.sampled_from(BOTS), lost=st.booleans())
    def tick(self, bot: str, lost: bool) -> None:
        self._send(self.desks[bot].tick(self.now), lost)

    @rule(seconds=st.sampled_from((0.3, 1.0, 6.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(bot=st.sampled_from(BOTS))
    def restart(self, bot: str) -> None:
        restarted = Desk.from_json(self.desks[bot].to_json())
        assert restarted == self.desks[bot]
        self.desks[bot] = restarted

    @invariant()
    def at_most_one_owner(self) -> None:
        owned = [talk for desk in self.desks.values() for talk in desk.owned]
        assert len(owned) == len(set(owned))

    @invariant()
    def none_is_lost(self) -> None:
        desks = self.desks.values()
        on_their_way = sum(handoff in giver.given for desk in desks for handoff in desk.promised for giver in desks)
        closed = sum(desk.counts.closed for desk in desks)
        assert self.opened == closed + sum(len(desk.owned) for desk in desks) + on_their_way

    @invariant()
    def capacity_is_kept(self) -> None:
        assert all(len(desk.owned) + len(desk.promised) <= desk.capacity for desk in self.desks.values())

    def teardown(self) -> None:
        """Let the network heal: each conversation then has exactly one owner, and nothing is under way."""
        for _ in range(8):
            self.now += 1
            for bot in self.desks.values():
                self.network += bot.tick(self.now)
            while self.network:
                message = self.network.pop(0)
                self.network += self.desks[message.addressee].receive(message, self.now)
        owned = sum(len(desk.owned) for desk in self.desks.values())
        assert self.opened == owned + sum(desk.counts.closed for desk in self.desks.values())
        assert all(desk.settled for desk in self.desks.values())

    def _send(self, messages: list[Message], lost: bool) -> None:
        if not lost:
            self.network += messages


TestHandoffs = Handoffs.TestCase
TestHandoffs.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


class World:
    """A run in simulated time. Of one step of a handoff no two in a row are lost; bots are away for half a second."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.desks = {name: desk(name) for name in BOTS}
        self.queue: list[tuple[float, int, Message]] = []
        self.away_until = dict.fromkeys(BOTS, 0.0)
        self.just_lost: set[tuple[str, Step]] = set()
        self.sent = 0
        self.ownerless: dict[str, list[float]] = {}

    def run(self, seconds: float) -> None:
        self.desks["triage"].open("t1")
        self.desks["triage"].open("t2")
        now = 0.0
        while now < seconds:
            now = round(now + 0.1, 3)
            self._restart_someone(now)
            self._deliver(now)
            for bot in self._present(now):
                self._send(bot.tick(now), now)
                if bot.idle_talks and self.random.random() < 0.3:
                    others = [name for name in BOTS if name != bot.name]
                    talk = self.random.choice(bot.idle_talks)
                    self._send(bot.offer(talk, self.random.choice(others), now), now)
            self._watch(now)

    def _present(self, now: float) -> list[Desk]:
        return [bot for bot in self.desks.values() if self.away_until[bot.name] <= now]

    def _restart_someone(self, now: float) -> None:
        if self.random.random() < 0.02:
            name = self.random.choice(BOTS)
            self.desks[name] = Desk.from_json(self.desks[name].to_json())
            self.away_until[name] = now + 0.5

    def _deliver(self, now: float) -> None:
        while self.queue and self.queue[0][0] <= now:
            _, _, message = heapq.heappop(self.queue)
            if (back := self.away_until[message.addressee]) > now:
                self._put(back, message)  # a subscriber that was away reads on where it was
            else:
                self._send(self.desks[message.addressee].receive(message, now), now)

    def _send(self, messages: list[Message], now: float) -> None:
        for message in messages:
            key = (message.handoff_id, message.step)
            if key not in self.just_lost and self.random.random() < 0.5:
                self.just_lost.add(key)
                continue
            self.just_lost.discard(key)
            self._put(now + self.random.choice((0.0, 0.1, 0.2)), message)
            if self.random.random() < 0.3:
                self._put(now + self.random.choice((0.1, 1.0, 7.0)), message)  # a copy, perhaps a very late one

    def _put(self, at: float, message: Message) -> None:
        self.sent += 1
        heapq.heappush(self.queue, (at, self.sent, message))

    def _watch(self, now: float) -> None:
        for talk in ("t1", "t2"):
            owners = sum(talk in bot.owned for bot in self.desks.values())
            assert owners <= 1
            if owners == 0:
                self.ownerless.setdefault(talk, []).append(now)

    def longest_without_owner(self) -> float:
        longest = 0.0
        for times in self.ownerless.values():
            run = 0.1
            for before, after in pairwise(times):
                run = run + 0.1 if after - before < 0.15 else 0.1
                longest = max(longest, run)
        return longest


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_nobody_owns_a_conversation_for_longer_than_the_timeout(seed: int) -> None:
    world = World(seed)
    world.run(60)
    assert world.longest_without_owner() <= 5
    assert sum(bot.counts.taken for bot in world.desks.values()) > 0
