"""Errors of events that were not refused one by one.

Owns their sentences. Called by the client. Pure.
"""

from __future__ import annotations

from lanecast.errors import NotAcknowledgedError, PublisherClosedError, PublishError, StatusError


def not_acknowledged(failed: list[str], unanswered: list[str], last: PublishError | None) -> NotAcknowledgedError:
    """Return the error of a flush after which events have failed, the last with `last`, or are unanswered."""
    parts = []
    if unanswered:
        fate = "they may or may not be stored; publish them again under their ids to be sure"
        parts.append(f"{len(unanswered)} events are unanswered: {fate}")
    if failed:
        parts.append(f"{len(failed)} events failed, the last with: {last}")
    return NotAcknowledgedError("; ".join(parts), [*failed, *unanswered])


def not_let_in(error: StatusError, event_id: str, channel: str) -> PublishError:
    """Return the error of an event of a publisher that the service does not let in any more."""
    message = f"the service does not let this publisher in any more: {error}"
    return PublishError(error.code, error.reason, message, event_id=event_id, channel=channel)


def closed_before_answer(event_id: str, channel: str) -> PublishError:
    """Return the error of an event whose publisher was closed too early."""
    return PublisherClosedError(
        f"the publisher was closed before event {event_id} was acknowledged: it may or may not be stored",
        event_id=event_id,
        channel=channel,
    )
