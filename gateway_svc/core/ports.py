"""What the gateway's core needs from outside.

Owns the interfaces between the core and its shells: one socket, one publisher, one checked token. The shells and the
tests' fakes implement them; nothing here acts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lanecast.core.priority import Priority

if TYPE_CHECKING:
    from gateway_svc.core.items import GapItem, Item
    from gateway_svc.core.subscription import Reader


class Sink(Protocol):
    """The way to one client."""

    def write(self, data: bytes) -> bool:
        """Hand bytes to the kernel and say whether it took them all.

        Where it did not, the sink keeps the rest and says so once that has gone; nothing may be written before then.
        """

    def close(self, number: int, reason: str) -> None:
        """Close after what was written, with a close code."""


class Identity(Protocol):
    """Who a checked token speaks for."""

    @property
    def subject(self) -> str:
        """Whom the token was issued to."""

    @property
    def expires_unix(self) -> int:
        """When the token ends, seconds since the Unix epoch."""

    def lanes_for(self, channel: str) -> frozenset[Priority]:
        """Return the lanes of a channel that may be received; empty where the channel is not granted."""


Verify = Callable[[str], Identity]
"""Checks a token; raises `lanecast.errors.TokenError`."""


@dataclass(slots=True, eq=False)
class PageRequest:
    """A page of the log that one reader waits for."""

    reader: Reader
    channel: str
    lane: Priority
    epoch: str
    after: int | None
    """Cursor to read after; None where `last_n` is asked for."""
    last_n: int
    limit: int
    tail: int
    """Where the live stream stood when the page was asked for: a page that ends the log covers at least that."""
    generation: int
    """Changes when the live stream was rewound or connected anew; `tail` means nothing to a later one."""


@dataclass(frozen=True, slots=True)
class Page:
    """What the log answered."""

    epoch: str
    gaps: Sequence[GapItem]
    """Why the position that was asked for could not be honoured."""
    events: Sequence[Item]
    """In order: batches, each small enough for a frame, and gaps that name what was left out between them."""
    covered_through: int
    more: bool


class Publisher(Protocol):
    """The way to the publisher."""

    def add(self, channel: str) -> None:
        """Begin to receive a channel; the answer is `Hub.positioned`."""

    def remove(self, channel: str) -> None:
        """Stop receiving a channel."""

    def read(self, request: PageRequest) -> None:
        """Read a page; the answer is `Hub.page`, or `Hub.page_failed`."""
