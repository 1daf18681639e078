"""The HTTP API of alerts: the same as over gRPC, as ProtoJSON.

Owns the path `alerts`. Registered by `http`.
"""

from __future__ import annotations

from aiohttp import web

from lanecast.v1 import metrics_pb2
from metrics_svc.alert_messages import acknowledge, list_response
from metrics_svc.core.operators import Operators
from metrics_svc.core.selection import invalid
from metrics_svc.http_api import PREFIX, check_names, json_response, one, read_change
from metrics_svc.watch import Watch

_NAMES = ("state", "page_size", "page_token")
_STATES = {
    "": metrics_pb2.ALERT_STATE_UNSPECIFIED,
    "pending": metrics_pb2.ALERT_STATE_PENDING,
    "firing": metrics_pb2.ALERT_STATE_FIRING,
    "resolved": metrics_pb2.ALERT_STATE_RESOLVED,
}


class AlertsApi:
    """Handlers of the path `alerts`."""

    def __init__(self, watch: Watch, operators: Operators) -> None:
        self._watch = watch
        self._operators = operators

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(f"{PREFIX}/alerts", self.list, allow_head=False),
            web.post(f"{PREFIX}/alerts", self.acknowledge),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Answer like ListAlerts."""
        check_names(request, _NAMES)
        state = (one(request, "state") or "").lower().removeprefix("alert_state_")
        if state not in _STATES:
            raise invalid("STATE_UNKNOWN", f"unknown state {state!r:.60}: use pending, firing or resolved", "state")
        size = one(request, "page_size") or "0"
        if not size.isdecimal() or len(size) > 9:
            raise invalid("PAGE_SIZE_OUT_OF_RANGE", f"the page size is {size!r:.60}: use 1 to 1000", "page_size")
        query = metrics_pb2.ListAlertsRequest(
            state=_STATES[state], page_size=int(size), page_token=one(request, "page_token") or ""
        )
        return json_response(list_response(self._watch.newest(), query))

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Answer like AcknowledgeAlert; the body is its request."""
        message = await read_change(request, self._operators, metrics_pb2.AcknowledgeAlertRequest())
        return json_response(acknowledge(self._watch, message))
