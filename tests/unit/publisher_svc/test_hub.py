"""Who is subscribed to what, as dispatch sees it."""

from __future__ import annotations

from collections.abc import Sequence

from lanecast.core.priority import EXPRESS_LANES, LANES, Priority
from publisher_svc.core.group import Group
from publisher_svc.hub import Hub


class Nobody:
    def offer(self, groups: Sequence[Group], now_ns: int) -> None:
        """Take nothing."""


def test_joining_twice_is_joining_once_and_leaving_leaves_the_others() -> None:
    hub, one, two = Hub(), Nobody(), Nobody()
    for receiver in (one, two, one):
        hub.join("a", LANES, receiver)
    assert hub.receivers(("a", Priority.LOW)) == (one, two)
    hub.leave("a", EXPRESS_LANES, one)
    hub.leave("b", LANES, one)
    assert hub.receivers(("a", Priority.HIGH)) == (two,)
    assert hub.receivers(("a", Priority.LOW)) == (one, two)
    for receiver in (one, two, two):
        hub.leave("a", LANES, receiver)
    assert not hub.subscribed
    assert hub.receivers(("a", Priority.LOW)) == ()


def test_channels_of_the_same_receivers_share_what_names_them() -> None:
    hub, one, two = Hub(), Nobody(), Nobody()
    for receiver in (one, two):
        for channel in ("a", "b"):
            hub.join(channel, LANES, receiver)
    assert hub.receivers(("a", Priority.LOW)) is hub.receivers(("b", Priority.HIGH))
