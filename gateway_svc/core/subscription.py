"""Subscriptions and their readers.

Owns what is remembered of one session's interest in one channel: a reader with a cursor for each lane. Changed by the
hub only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from lanecast.core.position import Position
from lanecast.core.priority import Priority
from lanecast.v1.publisher_pb2 import Start

if TYPE_CHECKING:
    from gateway_svc.core.channel import Channel, Feed
    from gateway_svc.core.ports import Page, PageRequest
    from gateway_svc.core.session import Session


class State(Enum):
    """Where a reader takes its events from."""

    OPENING = "opening"
    """Nowhere yet: the subscription has not been answered."""
    REPLAYING = "replaying"
    """The log, page by page."""
    LIVE = "live"
    """The shared live stream."""
    SPOOLED = "spooled"
    """Nowhere for now: its client is behind. It goes on from the log once the outbox is empty."""
    CLOSED = "closed"
    """Nowhere any more."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where a client wants to begin."""

    start: Start.ValueType
    last_n: int
    positions: dict[Priority, Position]


class Reader:
    """The cursor of one session in one lane of one channel."""

    __slots__ = (
        "cursor", "epoch", "feed", "first", "lane", "outbox", "overrun", "request", "seen", "session", "state",
        "subscription",
    )  # fmt: skip

    def __init__(self, subscription: Subscription, feed: Feed) -> None:
        self.subscription = subscription
        self.session = subscription.session
        self.outbox = subscription.session.outbox
        self.feed = feed
        self.lane = feed.lane
        self.state = State.OPENING
        self.cursor = 0
        """Everything up to here was handed to the outbox, or is known not to exist."""
        self.epoch = ""
        """The epoch of the cursor; empty while it is live, and then that of its feed."""
        self.seen = 0
        """The cursor as the client knows it; `cursor` may be ahead after a page without events."""
        self.overrun = False
        """True while it reads from the log what its client was too slow to take live. Only then pages are conflated:
        history that was asked for, and what a resumed client missed, comes whole."""
        self.request: PageRequest | None = None
        """The page it waits for."""
        self.first: tuple[PageRequest, Page] | None = None
        """Its first page, kept until the pages of all lanes are there and the subscription is answered."""

    def __repr__(self) -> str:
        return f"Reader({self.feed!r}, {self.state.value}, {self.epoch}:{self.cursor})"


class Subscription:
    """One session's subscription to one channel."""

    __slots__ = ("answered", "channel", "readers", "session", "wanted")

    def __init__(self, session: Session, channel: Channel, lanes: list[Priority], wanted: Wanted) -> None:
        self.session = session
        self.channel = channel
        self.wanted: Wanted | None = wanted
        """None once it has been answered."""
        self.readers = [Reader(self, channel.feeds[lane]) for lane in lanes]
        self.answered = False

    def __repr__(self) -> str:
        return f"Subscription({self.channel.name!r}, {self.readers!r})"
