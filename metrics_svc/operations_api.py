"""The HTTP API of what operators do: performance tests, channels, sessions, reports, and the OpenAPI document.

Owns these routes. Answers are those of the gRPC services, as ProtoJSON. Registered by
`http`.
"""

from __future__ import annotations

import json
from contextlib import aclosing

from aiohttp import web

from lanecast.errors import StatusError
from lanecast.v1 import admin_pb2, metrics_pb2
from metrics_svc import openapi
from metrics_svc.admin import Admin
from metrics_svc.core.operators import Operators
from metrics_svc.core.survey import ORDERS, invalid
from metrics_svc.http_api import (
    PREFIX,
    check_names,
    json_response,
    one,
    read_change,
    to_json,
    write_event,
)
from metrics_svc.performance import PerformanceTests
from metrics_svc.reports import Reports

OPENAPI_PATH = "/api/v1/openapi.json"
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
"""A report is one page with its own style, and runs nothing."""
_FORMATS = {"html": ("html", "text/html"), "md": ("markdown", "text/markdown"), "json": ("json", "application/json")}


class OperationsApi:
    """Handlers of the paths."""

    def __init__(self, performance: PerformanceTests, admin: Admin, reports: Reports, operators: Operators) -> None:
        self._performance = performance
        self._admin = admin
        self._reports = reports
        self._operators = operators

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post(f"{PREFIX}/performance-test", self.performance_test),
            web.get(f"{PREFIX}/channels", self.channels, allow_head=False),
            web.get(f"{PREFIX}/sessions", self.sessions, allow_head=False),
            web.post(f"{PREFIX}/sessions/{{id}}/disconnect", self.disconnect),
            web.get(f"{PREFIX}/reports", self.list_reports, allow_head=False),
            web.post(f"{PREFIX}/reports", self.create_report),
            web.get(f"{PREFIX}/reports/{{id}}", self.get_report, allow_head=False),
            web.get(OPENAPI_PATH, self.openapi, allow_head=False),
        ]

    async def performance_test(self, request: web.Request) -> web.StreamResponse:
        """Run a test and send its progress as server-sent events; where the reader goes away, the test ends."""
        check_names(request, ())
        order = await read_change(request, self._operators, metrics_pb2.RunPerformanceTestRequest())
        async with aclosing(self._performance.run(order, _caller(request))) as responses:
            first = await anext(responses)  # what is refused has a status of its own
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
            )
            await response.prepare(request)
            try:
                await write_event(response, request, _event(first))
                async for progress in responses:
                    await write_event(response, request, _event(progress))
            except StatusError as error:
                await write_event(response, request, _failure(error))
            except ConnectionError:
                return response  # the reader has gone, and the test ends with this block
            return response

    async def channels(self, request: web.Request) -> web.Response:
        """Answer like ListChannels."""
        check_names(request, ("order", "page_size"))
        order = (one(request, "order") or "rate").lower()
        if order not in ORDERS:
            raise invalid("ORDER_UNKNOWN", f"unknown order {order!r:.60}: use rate, lag or subscribers", "order")
        size = _page_size(request)
        return json_response(
            await self._admin.channels(admin_pb2.ListChannelsRequest(order_by=ORDERS[order], page_size=size))
        )

    async def sessions(self, request: web.Request) -> web.Response:
        """Answer like ListSessions."""
        check_names(request, ("subject", "page_size", "page_token"))
        question = admin_pb2.ListSessionsRequest(
            subject=one(request, "subject") or "",
            page_size=_page_size(request),
            page_token=one(request, "page_token") or "",
        )
        return json_response(await self._admin.sessions(question))

    async def disconnect(self, request: web.Request) -> web.Response:
        """Answer like DisconnectSession."""
        check_names(request, ())
        order = await read_change(request, self._operators, admin_pb2.DisconnectSessionRequest())
        order.id = request.match_info["id"]
        return json_response(await self._admin.disconnect(order, _caller(request)))

    async def list_reports(self, request: web.Request) -> web.Response:
        """Answer like ListReports."""
        check_names(request, ("page_size",))
        found = await self._reports.newest(_page_size(request))
        return json_response(metrics_pb2.ListReportsResponse(reports=found))

    async def create_report(self, request: web.Request) -> web.Response:
        """Answer like CreateReport."""
        check_names(request, ())
        order = await read_change(request, self._operators, metrics_pb2.CreateReportRequest())
        return json_response(metrics_pb2.CreateReportResponse(report=await self._reports.create(order)))

    async def get_report(self, request: web.Request) -> web.Response:
        """Answer like GetReport, or with one of the report's forms."""
        check_names(request, ("format",))
        wanted = one(request, "format")
        if wanted is not None and wanted not in _FORMATS:
            raise invalid("FORMAT_UNKNOWN", f"unknown format {wanted!r:.60}: use html, md or json", "format")
        report = await self._reports.get(request.match_info["id"])
        if wanted is None:
            return json_response(metrics_pb2.GetReportResponse(report=report))
        field, media = _FORMATS[wanted]
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": _REPORT_POLICY}
        return web.Response(text=getattr(report, field), content_type=media, charset="utf-8", headers=headers)

    async def openapi(self, request: web.Request) -> web.Response:
        """Return the OpenAPI document."""
        check_names(request, ())
        return web.json_response(openapi.document(), headers={"Cache-Control": "no-cache"})


def _event(message: metrics_pb2.RunPerformanceTestResponse) -> str:
    kind = "result" if message.grade else "progress"
    return f"event: {kind}\ndata: {to_json(message)}\n\n"


def _failure(error: StatusError) -> str:
    body = json.dumps({"code": error.code, "reason": error.reason, "message": str(error)})
    return f"event: failed\ndata: {body}\n\n"


def _page_size(request: web.Request) -> int:
    text = one(request, "page_size")
    if text is None:
        return 0
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 1000:
        raise invalid("PAGE_SIZE_OUT_OF_RANGE", f"page_size is {text!r:.20}: use 1 to 1,000", "page_size")
    return int(text)


def _caller(request: web.Request) -> str:
    return f"http:{request.remote}"
