"""What is sent to a webhook.

Owns the record of a notification with the key by which a receiver recognises a repeated one, its signature, and the
body of those about alerts. Built by `watch` and `rollout.wiring`, sent by `webhook`; those about alerts are kept by
`history`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from metrics_svc.core.alerts import NANOS, Alert

WAITING, SENT, FAILED = "waiting", "sent", "failed"
"""Outcomes of a notification."""
VERSION = 1


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification and what became of it."""

    key: str
    """The same for every try: `what:state`. Those with one `what` are sent in their order."""
    created_ns: int
    body: str
    attempts: int = 0
    outcome: str = WAITING
    detail: str = ""
    """Of the last try, what went wrong."""


def notice(alert: Alert, source: str, now_ns: int) -> Notice:
    """Return the notification of the present state of an alert."""
    body = {
        "version": VERSION,
        "source": source,
        "alert": {
            "id": alert.id,
            "rule": alert.rule,
            "severity": alert.severity.name,
            "state": alert.state.name,
            "lane": alert.lane.name if alert.lane is not None else None,
            "summary": alert.summary,
            "startTime": timestamp(alert.start_ns),
            "endTime": timestamp(alert.end_ns) if alert.end_ns else None,
            "acknowledgedBy": alert.acknowledged_by or None,
        },
    }
    return Notice(f"{alert.id}:{alert.state.name}", now_ns, json.dumps(body, ensure_ascii=False))


def signature(secret: str, unix_seconds: int, body: bytes) -> str:
    """Return the value of the signature header: HMAC-SHA256 of `seconds.body`.

    The time is signed as well, so that a receiver can refuse what someone recorded and sends again much later.
    """
    digest = hmac.new(secret.encode(), f"{unix_seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={unix_seconds},v1={digest}"


def timestamp(time_ns: int) -> str:
    """Return a moment in the form of RFC 3339."""
    return datetime.fromtimestamp(time_ns / NANOS, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
