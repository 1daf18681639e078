"""When reports are made by themselves.

Owns the calendar: periods end at midnight UTC, weeks on Monday, months on the first. A scheduled report has a request
id that follows from its period, so that it is made once, however often the service restarts. Pure.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SCHEDULES = ("daily", "weekly", "monthly-sla")
_NAMESPACE = uuid.UUID("6f5f9a57-5a0e-4c62-9a2e-6f1a0f7d8a11")


@dataclass(frozen=True, slots=True)
class ScheduledReport:
    """A report that is due."""

    name: str
    """One of `SCHEDULES`."""
    start: datetime
    end: datetime

    @property
    def request_id(self) -> str:
        """The same for the same period."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.name} {self.end.isoformat()}"))


def last_period(name: str, now: datetime) -> ScheduledReport:
    """Return the newest period of a schedule that is over."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if name == "daily":
        return ScheduledReport(name, midnight - timedelta(days=1), midnight)
    if name == "weekly":
        end = midnight - timedelta(days=midnight.weekday())
        return ScheduledReport(name, end - timedelta(days=7), end)
    end = midnight.replace(day=1)
    return ScheduledReport(name, (end - timedelta(days=1)).replace(day=1), end)


def next_check(now: datetime) -> datetime:
    """Return when something may be due next: a little after midnight, when the last figures of the day have come."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=1, seconds=30)
