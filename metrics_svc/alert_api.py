"""The HTTP API of alerts: the same as over gRPC, as ProtoJSON.

Owns the path `alerts`. What changes something is answered only to this machine, as `/api/v1/session` is, and only as
JSON, which no form of another site can send. Registered by `http`.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from google.protobuf.json_format import Parse, ParseError

from lanecast.errors import StatusError
from lanecast.v1 import metrics_pb2
from metrics_svc.alert_messages import acknowledge, list_response, malformed
from metrics_svc.core.loopback import refusal
from metrics_svc.core.selection import invalid
from metrics_svc.http_api import PREFIX, check_names, json_response, one
from metrics_svc.watch import Watch

PERMISSION_DENIED = 7
"""The canonical gRPC code."""

_NAMES = ("state", "page_size", "page_token")
_STATES = {
    "": metrics_pb2.ALERT_STATE_UNSPECIFIED,
    "pending": metrics_pb2.ALERT_STATE_PENDING,
    "firing": metrics_pb2.ALERT_STATE_FIRING,
    "resolved": metrics_pb2.ALERT_STATE_RESOLVED,
}


class AlertsApi:
    """Handlers of the path `alerts`."""

    def __init__(self, watch: Watch, networks: Sequence[str]) -> None:
        self._watch = watch
        self._networks = networks

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
        problem = refusal(request.remote, request.headers, self._networks)
        if problem is not None:
            raise StatusError(PERMISSION_DENIED, "NOT_LOCAL", problem)
        if request.content_type != "application/json":
            raise malformed("send the request as Content-Type: application/json")
        message = metrics_pb2.AcknowledgeAlertRequest()
        try:
            Parse(await request.text(), message)
        except (ParseError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(f"the body is not a valid AcknowledgeAlertRequest: {error}"[:300]) from error
        except web.HTTPRequestEntityTooLarge as error:
            raise malformed("the body is too large: shorten the comment", "comment") from error
        return json_response(acknowledge(self._watch, message))
