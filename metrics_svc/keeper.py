"""Writes behind what is in memory: what has changed goes to the history, in a thread of its own.

Owns the writer thread, the numbers of series in the file, and what happens when the disk is full: figures go on in
memory, the problem is told to the alert rules, and from time to time the whole is written anew. So a failing disk costs
neither memory nor answers. Driven once a second by `watch`.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lanecast.errors import StartError
from metrics_svc.core import records
from metrics_svc.core.alerts import Alert
from metrics_svc.core.notices import Notice
from metrics_svc.core.series import Series
from metrics_svc.core.telemetry import Telemetry
from metrics_svc.history import MAX_NOTICES, Batch, History, HistoryError

log = logging.getLogger(__name__)

RETRY_TICKS = 10
"""Calls of `flush` that pass between two tries to write while the disk fails."""


class Keeper:
    """Keeps the history of one telemetry. Use: `open`, then `flush` again and again, `close`."""

    def __init__(self, data_dir: Path, telemetry: Telemetry) -> None:
        self._data_dir = data_dir
        self._telemetry = telemetry
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._history: History | None = None
        self._numbers: dict[Series, int] = {}
        self._next_number = 1
        self._alerts: dict[str, Alert] = {}
        self._written: dict[str, Alert] = {}
        self._notices: dict[str, Notice] = {}
        self._complete = False
        self._wait = 0
        self.problem = ""
        """Why the history cannot be written; empty where it can."""

    async def open(self, now_ns: int) -> tuple[list[Alert], list[Notice]]:
        """Open the file and go on from what it holds; return its alerts and notifications.

        Raises:
            StartError: it cannot be used by this process; says what to do.
        """
        loop = asyncio.get_running_loop()
        try:
            self._history = await loop.run_in_executor(self._thread, History.open, self._data_dir)
            stored = await loop.run_in_executor(self._thread, self._history.load, self._telemetry)
        except HistoryError as error:
            self._fail(str(error))
            return [], []
        self._telemetry.restore(stored.changes, now_ns)
        self._numbers, self._next_number = stored.numbers, stored.next_number
        self._alerts = {alert.id: alert for alert in stored.alerts}
        self._written = dict(self._alerts)
        return stored.alerts, stored.notices

    def keep_alerts(self, alerts: dict[str, Alert]) -> None:
        """Take note of all alerts there are; what differs is written at the next `flush`."""
        self._alerts = alerts

    def keep_notice(self, notice: Notice) -> None:
        """Take note of a notification that is new or was tried."""
        self._notices[notice.key] = notice
        while len(self._notices) > MAX_NOTICES:
            del self._notices[next(iter(self._notices))]

    async def flush(self) -> None:
        """Write what has changed. Never raises; see `problem`."""
        if self._wait > 0:
            self._wait -= 1
            return
        alerts, notices, batch = self._alerts, self._notices, self._batch()
        self._notices = {}
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        except HistoryError as error:
            self._notices = {**notices, **self._notices}
            self._fail(str(error))
            return
        self._written = dict(alerts)
        if self.problem:
            log.info("the history of metrics is written again")
        self.problem, self._complete = "", False

    async def close(self) -> None:
        """Write what is left and close the file. Idempotent."""
        if self._history is not None:
            self._wait = 0
            await self.flush()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._history.close)
            self._history = None
        self._thread.shutdown()

    def _write(self, batch: Batch) -> None:
        if self._history is None:
            try:
                self._history = History.open(self._data_dir)
            except StartError as error:
                raise HistoryError(str(error)) from error
        self._history.write(batch)

    def _fail(self, problem: str) -> None:
        if not self.problem:
            log.error("the history of metrics cannot be written: %s; figures go on in memory", problem)
        self.problem, self._complete, self._wait = problem, True, RETRY_TICKS

    def _batch(self) -> Batch:
        if self._complete:
            self._numbers, self._next_number, self._written = {}, 1, {}
        changes = self._telemetry.take_changes(everything=self._complete)
        batch = Batch(complete=self._complete, made_until=changes.made_until, processes=changes.processes)

        def number(series: Series) -> int:
            known = self._numbers.get(series)
            return self._number(series, batch) if known is None else known

        for place, slot in changes.slots.items():
            batch.slots[place] = None if slot is None else records.encode_slot(slot, number)
        for name, alert in self._alerts.items():
            if alert != self._written.get(name):
                batch.alerts[name] = records.encode_alert(alert)
        batch.alerts.update(dict.fromkeys(self._written.keys() - self._alerts.keys()))
        batch.notices = self._notices
        return batch

    def _number(self, series: Series, batch: Batch) -> int:
        number = self._numbers[series] = self._next_number
        self._next_number += 1
        key = series.key
        batch.series.append((number, key.name, records.encode_key(key), series.kind.value, series.process))
        return number
