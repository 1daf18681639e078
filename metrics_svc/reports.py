"""Makes and keeps reports.

Owns the folder `metrics/reports` in the data directory, one file for each report, and the task that makes scheduled
ones. A report's id is its request id, so a retry finds what the first call made. Called by the gRPC and HTTP shells.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToJson, Parse, ParseError

from lanecast.errors import StatusError
from lanecast.runtime.agent import in_turns
from lanecast.v1 import metrics_pb2
from metrics_svc import messages
from metrics_svc.core import report as core
from metrics_svc.core.history import History
from metrics_svc.core.report import PERFORMANCE, SLA, ReportData, ReportOrder
from metrics_svc.core.report_html import html
from metrics_svc.core.report_schedule import last_period, next_check
from metrics_svc.core.report_text import markdown
from metrics_svc.core.survey import invalid, page_size
from metrics_svc.core.telemetry import NANOS

log = logging.getLogger(__name__)

NOT_FOUND, RESOURCE_EXHAUSTED = 5, 8
"""Canonical gRPC codes."""
DAY = 86_400
MAX_IN_PROGRESS = 4
_KINDS = {0: PERFORMANCE, metrics_pb2.REPORT_KIND_PERFORMANCE: PERFORMANCE, metrics_pb2.REPORT_KIND_SLA: SLA}
_KIND_VALUES = {PERFORMANCE: metrics_pb2.REPORT_KIND_PERFORMANCE, SLA: metrics_pb2.REPORT_KIND_SLA}
_TEXTS = ("markdown", "html", "json")


class Reports:
    """All reports of a data directory."""

    def __init__(
        self, folder: Path, history: History, clock_ns: Callable[[], int], *, schedule: Sequence[str], most: int
    ) -> None:
        self._folder = folder
        self._history = history
        self._clock_ns = clock_ns
        self._schedule = tuple(schedule)
        self._most = most
        self._making: dict[str, asyncio.Task[metrics_pb2.Report]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make scheduled reports."""
        if self._schedule:
            self._task = asyncio.create_task(self._keep_schedule(), name="reports")

    async def close(self) -> None:
        """Stop. Idempotent."""
        tasks = [*self._making.values(), *([self._task] if self._task is not None else [])]
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def create(self, request: metrics_pb2.CreateReportRequest) -> metrics_pb2.Report:
        """Make a report, or return the one that this request id made before.

        Raises:
            StatusError: INVALID_ARGUMENT; RESOURCE_EXHAUSTED where too many are being made, or it cannot be stored.
        """
        report_id = _report_id(request.request_id or str(uuid.uuid4()), "request_id")
        task = self._making.get(report_id)
        if task is None:
            known = await asyncio.to_thread(self._read, report_id)
            if known is not None:
                return known
            task = self._making.get(report_id)  # another call may have begun meanwhile
        if task is None:
            order = self._order(request)
            if len(self._making) >= MAX_IN_PROGRESS:
                message = f"{MAX_IN_PROGRESS} reports are being made already: try again in a moment"
                raise StatusError(RESOURCE_EXHAUSTED, "TOO_MANY_REPORTS", message, retry_delay_seconds=2.0)
            task = self._making[report_id] = asyncio.create_task(self._make(report_id, order), name="report")
            task.add_done_callback(lambda _: self._making.pop(report_id, None))
        return await asyncio.shield(task)

    async def get(self, report_id: str) -> metrics_pb2.Report:
        """Return a report.

        Raises:
            StatusError: INVALID_ARGUMENT; NOT_FOUND.
        """
        report = await asyncio.to_thread(self._read, _report_id(report_id, "id"))
        if report is None:
            raise StatusError(NOT_FOUND, "REPORT_NOT_FOUND", "there is no such report: ListReports names those kept")
        return report

    async def newest(self, size: int) -> list[metrics_pb2.Report]:
        """Return the newest reports without their texts.

        Raises:
            StatusError: `size` is out of bounds.
        """
        return await asyncio.to_thread(self._newest, page_size(size, 100))

    def _order(self, request: metrics_pb2.CreateReportRequest) -> ReportOrder:
        now = self._clock_ns() // NANOS
        if request.kind not in _KINDS:
            raise invalid("REPORT_INVALID", "kind is unknown: use PERFORMANCE or SLA", "kind")
        end = request.end_time.seconds if request.HasField("end_time") else now + 1
        start = request.start_time.seconds if request.HasField("start_time") else end - DAY
        order = ReportOrder(_KINDS[request.kind], request.title, start, end)
        order.check(now)
        return order

    async def _make(self, report_id: str, order: ReportOrder) -> metrics_pb2.Report:
        data = await in_turns(core.build(self._history, order, self._clock_ns()))
        return await asyncio.to_thread(self._store, report_id, data)

    # In threads: files

    def _store(self, report_id: str, data: ReportData) -> metrics_pb2.Report:
        order = data.order
        report = metrics_pb2.Report(
            id=report_id,
            title=data.title,
            start_time=messages.timestamp(order.start * NANOS),
            end_time=messages.timestamp(order.end * NANOS),
            create_time=messages.timestamp(data.made_ns),
            kind=_KIND_VALUES[order.kind],
            markdown=markdown(data),
            html=html(data),
            json=json.dumps(core.as_json(data), separators=(",", ":")),
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f".{report_id}"
            partial.write_text(MessageToJson(report, indent=None))
            partial.replace(self._path(report_id))
            self._prune()
        except OSError as error:
            message = f"the report cannot be stored in {self._folder}: {error.strerror}; make room there"
            raise StatusError(RESOURCE_EXHAUSTED, "REPORT_NOT_STORED", message) from error
        return report

    def _read(self, report_id: str) -> metrics_pb2.Report | None:
        try:
            return Parse(self._path(report_id).read_text(), metrics_pb2.Report())
        except FileNotFoundError:
            return None
        except (OSError, ParseError, UnicodeDecodeError) as error:
            log.warning("the report %s cannot be read and counts as missing: %s", report_id, error)
            return None

    def _newest(self, size: int) -> list[metrics_pb2.Report]:
        found = []
        for path in self._files()[:size]:
            report = self._read(path.stem)
            if report is not None:
                for name in _TEXTS:
                    report.ClearField(name)  # type: ignore[arg-type]
                found.append(report)
        return found

    def _prune(self) -> None:
        for path in self._files()[self._most :]:
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Return the files of reports, newest first."""
        times = [(path.stat().st_mtime_ns, path.name, path) for path in self._folder.glob("*.json")]
        return [path for _, _, path in sorted(times, reverse=True)]

    def _path(self, report_id: str) -> Path:
        return self._folder / f"{report_id}.json"

    # By the calendar

    async def _keep_schedule(self) -> None:
        while True:
            for name in self._schedule:
                await self.make_scheduled(name)
            now = self._now()
            await asyncio.sleep(min(3600.0, max(1.0, (next_check(now) - now).total_seconds())))

    async def make_scheduled(self, name: str) -> metrics_pb2.Report | None:
        """Make the newest report of a schedule, unless it is there or no figure of its period is kept."""
        due = last_period(name, self._now())
        start, end = int(due.start.timestamp()), int(due.end.timestamp())
        if not self._history.reaches(end):
            return None
        request = metrics_pb2.CreateReportRequest(
            request_id=due.request_id,
            start_time=messages.timestamp(start * NANOS),
            end_time=messages.timestamp(end * NANOS),
            kind=metrics_pb2.REPORT_KIND_SLA if name.endswith("sla") else metrics_pb2.REPORT_KIND_PERFORMANCE,
        )
        try:
            return await self.create(request)
        except StatusError as error:
            log.warning("the scheduled %s report was not made: %s", name, error)
            return None

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock_ns() / NANOS, UTC)


class ReportsServicer:
    """The rpcs of MetricsService about reports."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def CreateReport(self, request: metrics_pb2.CreateReportRequest, _context: Any) -> Any:  # noqa: N802
        """See the contract."""
        return metrics_pb2.CreateReportResponse(report=await self._reports.create(request))

    async def GetReport(self, request: metrics_pb2.GetReportRequest, _context: Any) -> Any:  # noqa: N802
        """See the contract."""
        return metrics_pb2.GetReportResponse(report=await self._reports.get(request.id))

    async def ListReports(self, request: metrics_pb2.ListReportsRequest, _context: Any) -> Any:  # noqa: N802
        """See the contract."""
        return metrics_pb2.ListReportsResponse(reports=await self._reports.newest(request.page_size))


def _report_id(text: str, field: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise invalid("REQUEST_ID_MALFORMED", f"{field} is {text!r:.60}: use a UUID", field) from error
