"""Puts together what gateways and publishers said of channels and sessions.

Owns which figure comes from whom: rates and heads from publishers; subscribers add up over gateways; lag is the most
that anyone knows of, a gateway's own reader behind its stream or a gateway's stream behind the log. Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

from lanecast.errors import StatusError
from lanecast.v1 import admin_pb2

INVALID_ARGUMENT = 3
"""The canonical gRPC code."""
MAX_PAGE, DEFAULT_CHANNELS, DEFAULT_SESSIONS = 1_000, 20, 100
MAX_REASON_BYTES = 100
ORDERS = {
    "rate": admin_pb2.CHANNEL_ORDER_RATE,
    "lag": admin_pb2.CHANNEL_ORDER_LAG,
    "subscribers": admin_pb2.CHANNEL_ORDER_SUBSCRIBERS,
}


def candidates(answers: Iterable[Iterable[admin_pb2.ChannelStatus]], most: int) -> list[str]:
    """Return the names in several lists, each in its order, taking from all in turn until there are enough."""
    lists = [list(answer) for answer in answers]
    found: dict[str, None] = {}
    for place in range(max(map(len, lists), default=0)):
        for one in lists:
            if place < len(one):
                found[one[place].channel] = None
    return list(found)[:most]


def merge_channels(
    publishers: Iterable[Iterable[admin_pb2.ChannelStatus]],
    gateways: Iterable[Iterable[admin_pb2.ChannelStatus]],
    order: admin_pb2.ChannelOrder.ValueType,
    limit: int,
) -> list[admin_pb2.ChannelStatus]:
    """Return the channels that stand out, greatest first, from what everyone said of the same names."""
    found: dict[str, admin_pb2.ChannelStatus] = {}
    for answer in publishers:
        for status in answer:
            known = _known(found, status.channel)
            known.events_per_second += status.events_per_second
            known.lag = max(known.lag, status.lag)
            if not known.heads:
                known.heads.extend(status.heads)
    for answer in gateways:
        for status in answer:
            known = _known(found, status.channel)
            known.subscribers += status.subscribers
            known.lag = max(known.lag, status.lag, _behind(known, status))
    measure = _MEASURES.get(order, _MEASURES[admin_pb2.CHANNEL_ORDER_RATE])
    return heapq.nsmallest(limit, found.values(), key=lambda status: (-measure(status), status.channel))


_MEASURES: dict[int, Callable[[admin_pb2.ChannelStatus], float]] = {
    admin_pb2.CHANNEL_ORDER_RATE: lambda status: status.events_per_second,
    admin_pb2.CHANNEL_ORDER_LAG: lambda status: status.lag,
    admin_pb2.CHANNEL_ORDER_SUBSCRIBERS: lambda status: status.subscribers,
}


def _known(found: dict[str, admin_pb2.ChannelStatus], channel: str) -> admin_pb2.ChannelStatus:
    return found.setdefault(channel, admin_pb2.ChannelStatus(channel=channel))


def _behind(publisher: admin_pb2.ChannelStatus, gateway: admin_pb2.ChannelStatus) -> int:
    """Return how far a gateway's stream is behind the log: where it knows the lane at all, in the same epoch."""
    tails = {head.lane: head for head in gateway.heads}
    lags = [0]
    for head in publisher.heads:
        tail = tails.get(head.lane)
        if tail is not None and tail.epoch == head.epoch:
            lags.append(head.offset - tail.offset)
    return max(lags)


def merge_sessions(answers: Iterable[Iterable[admin_pb2.Session]], limit: int) -> tuple[list[admin_pb2.Session], str]:
    """Return a page of the sessions of several gateways, and the id to go on after; empty where there are no more.

    Each gateway must have given one session more than `limit` where it has them.
    """
    merged = heapq.merge(*(list(answer) for answer in answers), key=lambda session: session.id)
    page: list[admin_pb2.Session] = []
    for session in merged:
        if len(page) == limit:
            return page, page[-1].id
        page.append(session)
    return page, ""


def page_size(given: int, default: int) -> int:
    """Return the size of a page.

    Raises:
        StatusError: it is out of bounds.
    """
    if not given:
        return default
    if not 1 <= given <= MAX_PAGE:
        raise invalid("PAGE_SIZE_OUT_OF_RANGE", f"the page size is {given}: use 1 to {MAX_PAGE:,}", "page_size")
    return given


def check_page_token(token: str) -> str:
    """Return the id a page token stands for.

    Raises:
        StatusError: it is none of ours.
    """
    if token and not is_session_id(token):
        text = f"{token!r:.60} is no page token: use the next_page_token of the page before"
        raise invalid("PAGE_TOKEN_MALFORMED", text, "page_token")
    return token


def check_disconnect(session: str, reason: str) -> None:
    """Refuse what cannot be a session, or a reason that is too long for a close frame.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if not is_session_id(session):
        raise invalid("SESSION_ID_MALFORMED", f"{session!r:.60} is no session id: ListSessions names them", "id")
    if len(reason.encode()) > MAX_REASON_BYTES:
        text = f"the reason has {len(reason.encode())} bytes: use at most {MAX_REASON_BYTES}"
        raise invalid("REASON_TOO_LONG", text, "reason")


def is_session_id(text: str) -> bool:
    """Say whether `text` has the form of a session id: 32 hexadecimal digits."""
    return len(text) == 32 and set(text) <= set("0123456789abcdef")


def invalid(reason: str, message: str, field: str) -> StatusError:
    """Return the error for a malformed request."""
    return StatusError(INVALID_ARGUMENT, reason, message, field=field)


def printable(text: str) -> str:
    """Return a reason with control characters made visible: it goes into logs and to the client."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def unanswered(attached: Sequence[str], reporting: Sequence[str], silent: Sequence[str]) -> list[str]:
    """Return who should have answered and did not: attached but silent, or reporting but not attached."""
    return sorted({*silent, *(name for name in reporting if name not in attached)})
