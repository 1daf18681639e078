from __future__ import annotations

import pytest
from gateway_fakes import FakeIdentity, World

from gateway_svc.core.heartbeat import Wheel
from gateway_svc.core.limits import HELLO_SECONDS
from gateway_svc.core.session import Session


@pytest.fixture
def world() -> World:
    return World()


def sessions(world: World, count: int) -> list[Session]:
    return [world.session()[0] for _ in range(count)]


def test_each_session_is_due_once_a_turn_and_they_are_spread(world: World) -> None:
    wheel = Wheel(1.0, 0.25)
    all_sessions = sessions(world, 8)
    for session in all_sessions:
        wheel.opened(session, 0.0)
        wheel.authenticated(session)
    turns = [wheel.due() for _ in range(4)]
    assert [len(turn) for turn in turns] == [2, 2, 2, 2]
    assert {id(session) for turn in turns for session in turn} == {id(session) for session in all_sessions}


def test_who_says_no_hello_is_late(world: World) -> None:
    wheel = Wheel(1.0, 0.25)
    one, two = sessions(world, 2)
    wheel.opened(one, 0.0)
    wheel.opened(two, 1.0)
    assert wheel.silent(HELLO_SECONDS - 0.1) == []
    assert wheel.silent(HELLO_SECONDS) == [one]
    wheel.authenticated(one)
    assert wheel.silent(HELLO_SECONDS) == []


def test_tokens_end_when_they_say_unless_replaced(world: World) -> None:
    wheel = Wheel(1.0, 0.25)
    world.tokens["good"] = FakeIdentity(expires_unix=100)
    one, two = sessions(world, 2)
    for session in (one, two):
        wheel.opened(session, 0.0)
        wheel.authenticated(session)
    two._identity = FakeIdentity(expires_unix=200)
    wheel.authenticated(two)
    assert list(wheel.expired(99)) == []
    assert list(wheel.expired(150)) == [one]
    assert list(wheel.expired(200)) == [two]


def test_sessions_that_come_and_go_leave_nothing_behind(world: World) -> None:
    wheel = Wheel(1.0, 0.25)
    for session in sessions(world, 500):
        wheel.opened(session, 0.0)
        wheel.authenticated(session)
        wheel.closed(session)
        wheel.closed(session)
    assert len(wheel) == 0
    assert len(wheel._expiring) <= 65
