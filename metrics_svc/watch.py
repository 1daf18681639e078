"""Looks at the objectives once a second: alerts, notifications, gauges, history.

Owns the task that does it and the order of its steps. Alerts change here and nowhere else but by `acknowledge`. Built
and started by `app`; asked by the gRPC and HTTP shells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from lanecast.core import instruments as names
from lanecast.core.instruments import Key
from lanecast.core.priority import LANES
from metrics_svc.alert_feed import AlertFeed
from metrics_svc.core.alerts import Alert, AlertBook
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.notices import WAITING, notice
from metrics_svc.core.rules import WINDOWS, Health, Rules, WindowCounts
from metrics_svc.core.telemetry import Point, Process, Telemetry
from metrics_svc.keeper import Keeper
from metrics_svc.webhook import Webhook

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0


class Watch:
    """Alerts of one metrics_svc."""

    def __init__(
        self,
        telemetry: Telemetry,
        rules: Rules,
        keeper: Keeper,
        webhook: Webhook,
        *,
        instance: str,
        clock_ns: Callable[[], int],
    ) -> None:
        self._telemetry = telemetry
        self._rules = rules
        self._keeper = keeper
        self._webhook = webhook
        self._instance = instance
        self._clock_ns = clock_ns
        self._started_ns = clock_ns()
        self._book = AlertBook()
        self._task: asyncio.Task[None] | None = None
        self.feed = AlertFeed()

    async def start(self) -> None:
        """Go on from the history and begin to look.

        Raises:
            StartError: the history cannot be used.
        """
        alerts, notices = await self._keeper.open(self._clock_ns())
        self._book = AlertBook(alerts)
        if self._webhook.enabled:
            self._webhook.send(one for one in notices if one.outcome == WAITING)
            self._webhook.start()
        self._task = asyncio.create_task(self._run(), name="watch")

    async def close(self) -> None:
        """Stop, and write what is left. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._webhook.close()
        await self._keeper.close()

    def newest(self) -> list[Alert]:
        """Return all alerts, the newest first."""
        return self._book.newest()

    def open_alerts(self) -> list[Alert]:
        """Return what is pending or firing."""
        return self._book.open_alerts()

    def acknowledge(self, place: str, actor: str, comment: str, silence_seconds: float) -> Alert:
        """Record who takes care of an alert.

        Raises:
            StatusError: there is no such alert, it is resolved, or what is given is malformed.
        """
        alert = self._book.acknowledge(self._clock_ns(), place, actor, comment, silence_seconds)
        log.info("alert %s was acknowledged by %s", alert.id, alert.acknowledged_by)
        self._keeper.keep_alerts({one.id: one for one in self._book.newest()})
        self.feed.publish([alert])
        return alert

    async def look(self) -> None:
        """Look once."""
        now_ns = self._clock_ns()
        counts = self._rules.counts(now_ns)
        self._report(counts, now_ns)
        health = Health(self._started_ns, self._keeper.problem)
        changed = self._book.update(now_ns, self._rules.read(counts, health, now_ns))
        for alert in changed:
            log.info("alert %s is %s: %s", alert.id, alert.state.name, alert.summary)
        self._notify(now_ns)
        self._book.forget(now_ns)
        self._keeper.keep_alerts({alert.id: alert for alert in self._book.newest()})
        self.feed.publish(changed)
        await self._keeper.flush()

    def _notify(self, now_ns: int) -> None:
        notices = [notice(alert, self._instance, now_ns) for alert in self._book.due(now_ns)]
        if not self._webhook.enabled:
            return
        for one in notices:
            self._keeper.keep_notice(one)
        self._webhook.send(notices)

    def _report(self, counts: WindowCounts, now_ns: int) -> None:
        points = []
        for lane in LANES:
            for window in WINDOWS:
                burn = self._rules.burn_rate(lane, counts, window)
                points.append(_gauge(names.SLO_BURN_RATE, burn, now_ns, lane=lane.name, window=window))
            left = self._rules.budget_remaining(lane, counts)
            points.append(_gauge(names.SLO_BUDGET_REMAINING, left, now_ns, lane=lane.name, window="30d"))
        self._telemetry.add(Process("metrics_svc", self._instance), points, now_ns)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("looking at the objectives failed; it is tried again")
            await asyncio.sleep(INTERVAL_SECONDS)


def _gauge(name: str, value: float, now_ns: int, **attributes: str) -> Point:
    return Point(Key(name, tuple(sorted(attributes.items()))), Kind.GAUGE, 0, now_ns, value)
