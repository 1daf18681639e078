"""What operators see of a gateway: its channels and its sessions.

Owns how these are found without stopping delivery: a survey is a generator that pauses every few hundred steps, so that
the shell can let the loop go on. It looks at snapshots; what changes meanwhile may be missed. Called by `inspection`.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable
from typing import TypeVar

from gateway_svc.core.channel import Channel
from gateway_svc.core.session import Session
from gateway_svc.core.subscription import State
from lanecast.core.channel import is_reserved
from lanecast.internal.v1 import agent_pb2
from lanecast.v1 import admin_pb2
from lanecast.v1.event_pb2 import LanePosition

T = TypeVar("T")
Survey = Generator[None, None, T]

STEPS = 200
"""Steps between two pauses, below 0.2 ms."""
MAX_NAMES, MAX_LIMIT = 4_000, 1_001
SUBPROTOCOLS = {True: "lanecast.v1.proto", False: "lanecast.v1.json"}


def channels(known: dict[str, Channel], question: agent_pb2.ChannelsQuestion) -> Survey[list[admin_pb2.ChannelStatus]]:
    """Return the channels that were named, or those that stand out; a gateway knows of lag and subscribers."""
    if question.names:
        named = [known[name] for name in question.names[:MAX_NAMES] if name in known]
        answered = []
        for channel in named:
            answered.append((yield from _status(channel)))  # noqa: PERF401 - a comprehension cannot pause
        return answered
    by_lag = question.order_by == admin_pb2.CHANNEL_ORDER_LAG
    found: list[tuple[int, str, admin_pb2.ChannelStatus | None]] = []
    limit = _limit(question.limit)
    for step, channel in enumerate(list(known.values()), 1):
        if is_reserved(channel.name):
            continue
        status = (yield from _status(channel)) if by_lag else None
        found.append((status.lag if status is not None else len(channel.subscriptions), channel.name, status))
        if step % STEPS == 0:
            found = heapq.nlargest(limit, found, key=_rank)
            yield
    best = heapq.nlargest(limit, found, key=_rank)
    statuses = []
    for _, name, status in best:
        if status is not None:
            statuses.append(status)
        elif name in known:
            statuses.append((yield from _status(known[name])))
    return statuses


def sessions(
    open_sessions: Iterable[Session], gateway: str, question: agent_pb2.SessionsQuestion
) -> Survey[list[admin_pb2.Session]]:
    """Return the sessions that follow an id, in the order of their ids, which is that of their opening."""
    limit, after, subject = _limit(question.limit), question.after_id, question.subject
    chosen: list[Session] = []
    for step, session in enumerate(list(open_sessions), 1):
        wanted = session.authenticated and not session.closed and session.id > after
        if wanted and (not subject or session.subject == subject):
            chosen.append(session)
        if step % STEPS == 0:
            chosen = heapq.nsmallest(limit, chosen, key=_session_id)
            yield
    return [_session(session, gateway) for session in heapq.nsmallest(limit, chosen, key=_session_id)]


def _status(channel: Channel) -> Survey[admin_pb2.ChannelStatus]:
    """Return what is known of a channel: readers on the live stream have no lag here, the others are looked at."""
    status = admin_pb2.ChannelStatus(channel=channel.name, subscribers=len(channel.subscriptions))
    for lane, feed in channel.feeds.items():
        if feed.positioned:
            status.heads.append(LanePosition(lane=lane.wire_value, epoch=feed.epoch, offset=feed.tail))
    live = sum(len(feed.live) for feed in channel.feeds.values())
    if live < sum(len(subscription.readers) for subscription in channel.subscriptions):
        for step, subscription in enumerate(list(channel.subscriptions), 1):
            for reader in subscription.readers:
                if reader.state in {State.REPLAYING, State.SPOOLED}:
                    status.lag = max(status.lag, reader.feed.tail - reader.cursor, 0)
            if step % STEPS == 0:
                yield
    return status


def _session(session: Session, gateway: str) -> admin_pb2.Session:
    found = admin_pb2.Session(
        id=session.id,
        subject=session.subject,
        gateway=gateway,
        subscriptions=len(session.subscriptions),
        outbox_bytes=session.outbox.waiting_bytes,
        subprotocol=SUBPROTOCOLS[session.binary],
    )
    found.open_time.FromMilliseconds(int(session.id[:12], 16))  # a UUIDv7 begins with its time
    return found


def _session_id(session: Session) -> str:
    return session.id


def _rank(entry: tuple[int, str, admin_pb2.ChannelStatus | None]) -> tuple[int, str]:
    return entry[0], entry[1]


def _limit(limit: int) -> int:
    return min(max(limit, 1), MAX_LIMIT)
