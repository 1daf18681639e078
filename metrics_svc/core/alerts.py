"""The life of alerts: pending, firing, resolved; acknowledged, silenced, notified.

Owns the state of each alert and the rules by which it changes. A rule is read once a second (`update`); what it reads
is the only cause of a change, so the same readings at the same times always give the same alerts. Time comes from the
caller, in nanoseconds since the Unix epoch. Driven by `watch`; the readings are from `rules`.

    (nothing) ── holds ──▶ PENDING ── has held long enough ──▶ FIRING ── has been clear long enough ──▶ RESOLVED
                              └──── holds no longer ────▶ (nothing)

`holds` starts an alert and `stays` keeps it: the second asks for less, and must be false for a while before the alert
is resolved. Between the two an alert keeps its state, so it does not flap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum

from lanecast.core.priority import Priority
from lanecast.errors import StatusError

NANOS = 1_000_000_000
MAX_ALERTS = 1_000
"""Most alerts kept; the oldest resolved ones go first."""
MAX_OPEN = 500
"""Most alerts that are pending or firing; further ones wait until there is room."""
KEEP_SECONDS = 31 * 24 * 3600
"""How long a resolved alert is kept."""
MAX_SILENCE_SECONDS = 30 * 24 * 3600
MAX_ACTOR, MAX_COMMENT = 128, 500
"""Characters."""

INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION = 3, 5, 9
"""Canonical gRPC codes."""


class Severity(IntEnum):
    """How urgent an alert is; the numbers are those of the contract."""

    TICKET = 1
    PAGE = 2


class State(IntEnum):
    """Where an alert stands; the numbers are those of the contract."""

    PENDING = 1
    FIRING = 2
    RESOLVED = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule says at one moment."""

    rule: str
    """Identifies the rule and its subject; at most one alert of it is open."""
    severity: Severity
    holds: bool
    """The condition to begin."""
    stays: bool
    """The weaker condition to go on."""
    summary: str
    """Sentence that says what is wrong and what to do; empty where neither holds."""
    lane: Priority | None = None
    pending_seconds: float = 0.0
    """How long it must hold before the alert fires."""
    clear_seconds: float = 0.0
    """How long it must not stay before the alert is resolved."""
    group: str = ""
    """Alerts of one group have one cause: while the first of them fires, the others notify nobody."""
    rank: int = 0
    """Place in the group, most telling first."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert at one moment of its life."""

    id: str
    rule: str
    severity: Severity
    state: State
    lane: Priority | None
    summary: str
    start_ns: int
    """When the condition first held."""
    changed_ns: int
    """When the state last changed."""
    end_ns: int = 0
    """When it was resolved."""
    clear_since_ns: int = 0
    """Since when the condition holds no longer; 0: it does."""
    group: str = ""
    rank: int = 0
    acknowledged_by: str = ""
    comment: str = ""
    silenced_until_ns: int = 0
    notified: State | None = None
    """The last state that was handed over for notification."""

    @property
    def open(self) -> bool:
        """Whether it is pending or firing."""
        return self.state is not State.RESOLVED


class AlertBook:
    """All alerts, open and resolved."""

    def __init__(self, alerts: Iterable[Alert] = ()) -> None:
        self._alerts = {alert.id: alert for alert in sorted(alerts, key=lambda alert: alert.start_ns)}
        self._open = {alert.rule: alert.id for alert in self._alerts.values() if alert.open}

    def __len__(self) -> int:
        return len(self._alerts)

    def newest(self) -> list[Alert]:
        """Return all alerts, the newest first."""
        return sorted(self._alerts.values(), key=lambda alert: (alert.start_ns, alert.id), reverse=True)

    def open_alerts(self) -> list[Alert]:
        """Return what is pending or firing, in order of begin."""
        return [self._alerts[place] for place in self._open.values()]

    def update(self, now_ns: int, readings: Iterable[Reading]) -> list[Alert]:
        """Take over what all rules read at one moment; return the alerts whose state has changed, after the change.

        A rule that is not among the readings does not hold.
        """
        changed: list[Alert] = []
        seen: set[str] = set()
        for reading in readings:
            seen.add(reading.rule)
            self._read(now_ns, reading, changed)
        for rule in [rule for rule in self._open if rule not in seen]:
            self._read(now_ns, _gone(self._alerts[self._open[rule]]), changed)
        return changed

    def due(self, now_ns: int) -> list[Alert]:
        """Return the alerts that someone has to be told of now, each once for each state."""
        leading = {
            (alert.group, alert.rank) for alert in self.open_alerts() if alert.state is State.FIRING and alert.group
        }
        found = [alert for alert in self._alerts.values() if _is_due(alert, now_ns, leading)]
        for alert in found:
            self._alerts[alert.id] = replace(alert, notified=alert.state)
        return [self._alerts[alert.id] for alert in found]

    def acknowledge(self, now_ns: int, place: str, actor: str, comment: str, silence_seconds: float) -> Alert:
        """Record who takes care of an alert, and hold notifications back for a while.

        Raises:
            StatusError: there is no such alert, it is resolved, or what is given is malformed.
        """
        _check_words(actor, comment)
        if not 0 <= silence_seconds <= MAX_SILENCE_SECONDS:
            raise _invalid("SILENCE_OUT_OF_RANGE", "silence for 0 s to 30 days", "silence")
        alert = self._alerts.get(place)
        if alert is None:
            raise StatusError(
                NOT_FOUND, "ALERT_NOT_FOUND", f"there is no alert {place!r:.100}: list them for their ids", field="id"
            )
        if not alert.open:
            message = "the alert is already resolved: there is nothing left to take care of"
            raise StatusError(FAILED_PRECONDITION, "ALERT_RESOLVED", message, field="id")
        until = now_ns + round(silence_seconds * NANOS) if silence_seconds else alert.silenced_until_ns
        changed = replace(
            alert, acknowledged_by=actor, comment=comment or alert.comment, silenced_until_ns=max(until, 0)
        )
        self._alerts[place] = changed
        return changed

    def forget(self, now_ns: int) -> list[str]:
        """Remove resolved alerts that are too old or too many; return their ids."""
        oldest = now_ns - KEEP_SECONDS * NANOS
        resolved = [alert for alert in self._alerts.values() if not alert.open]
        resolved.sort(key=lambda alert: alert.end_ns)
        excess = max(0, len(self._alerts) - MAX_ALERTS)
        gone = [alert.id for index, alert in enumerate(resolved) if index < excess or alert.end_ns < oldest]
        for place in gone:
            del self._alerts[place]
        return gone

    def _read(self, now_ns: int, reading: Reading, changed: list[Alert]) -> None:
        place = self._open.get(reading.rule)
        before = self._alerts[place] if place is not None else None
        after = _begin(now_ns, reading) if before is None else _step(now_ns, before, reading)
        if after is None:
            if before is not None:  # it was pending and is over: as if it had not been
                del self._alerts[before.id], self._open[reading.rule]
            return
        if before is None and len(self._open) >= MAX_OPEN:
            return
        self._alerts[after.id] = after
        self._open[reading.rule] = after.id
        if not after.open:
            del self._open[reading.rule]
        if before is None or before.state is not after.state:
            changed.append(after)


def _begin(now_ns: int, reading: Reading) -> Alert | None:
    if not reading.holds:
        return None
    when = datetime.fromtimestamp(now_ns // NANOS, UTC)
    firing = reading.pending_seconds <= 0
    return Alert(
        id=f"{reading.rule}-{when:%Y%m%dT%H%M%SZ}",
        rule=reading.rule,
        severity=reading.severity,
        state=State.FIRING if firing else State.PENDING,
        lane=reading.lane,
        summary=reading.summary,
        start_ns=now_ns,
        changed_ns=now_ns,
        group=reading.group,
        rank=reading.rank,
    )


def _step(now_ns: int, alert: Alert, reading: Reading) -> Alert | None:
    if alert.state is State.PENDING:
        if not reading.holds:
            return None
        if now_ns - alert.start_ns >= reading.pending_seconds * NANOS:
            return replace(alert, state=State.FIRING, changed_ns=now_ns, summary=reading.summary)
        return replace(alert, summary=reading.summary)
    if reading.stays or reading.holds:
        return replace(alert, clear_since_ns=0, summary=reading.summary or alert.summary)
    since = alert.clear_since_ns or now_ns
    if now_ns - since >= reading.clear_seconds * NANOS:
        return replace(alert, state=State.RESOLVED, changed_ns=now_ns, end_ns=now_ns, clear_since_ns=since)
    return replace(alert, clear_since_ns=since)


def _gone(alert: Alert) -> Reading:
    return Reading(alert.rule, alert.severity, holds=False, stays=False, summary="")


def _is_due(alert: Alert, now_ns: int, leading: set[tuple[str, int]]) -> bool:
    if now_ns < alert.silenced_until_ns:
        return False
    if alert.state is State.RESOLVED:
        return alert.notified is State.FIRING
    if alert.state is not State.FIRING or alert.notified is State.FIRING:
        return False
    return not any(group == alert.group and rank < alert.rank for group, rank in leading)


def _check_words(actor: str, comment: str) -> None:
    if not actor.strip() or len(actor) > MAX_ACTOR or not actor.isprintable():
        raise _invalid("ACTOR_INVALID", f"name who takes care, in 1 to {MAX_ACTOR} printable characters", "actor")
    if len(comment) > MAX_COMMENT:
        raise _invalid("COMMENT_TOO_LONG", f"the comment may have {MAX_COMMENT} characters", "comment")


def _invalid(reason: str, message: str, field: str) -> StatusError:
    return StatusError(INVALID_ARGUMENT, reason, message, field=field)
