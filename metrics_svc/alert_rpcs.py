"""The rpcs of MetricsService that are about alerts.

Owns nothing but the rpcs. Part of `grpc_service.MetricsServicer`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from lanecast.errors import StatusError
from lanecast.v1 import metrics_pb2
from metrics_svc.alert_messages import acknowledge, alert_message, list_response
from metrics_svc.streams import UNAVAILABLE, Streams
from metrics_svc.watch import Watch

_LOOK_SECONDS = 60.0


class AlertRpcs:
    """ListAlerts, WatchAlerts and AcknowledgeAlert."""

    def __init__(self, watch: Watch, streams: Streams) -> None:
        self._watch = watch
        self._alert_streams = streams

    async def ListAlerts(  # noqa: N802 - the contract's name
        self,
        request: metrics_pb2.ListAlertsRequest,
        context: Any,  # noqa: ARG002 - grpc's signature
    ) -> metrics_pb2.ListAlertsResponse:
        """Return alerts, newest first."""
        return list_response(self._watch.newest(), request)

    async def WatchAlerts(  # noqa: N802
        self,
        request: metrics_pb2.WatchAlertsRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[metrics_pb2.WatchAlertsResponse]:
        """Yield the open alerts and then each change until cancelled or drained."""
        streams = self._alert_streams
        with streams.enter(), self._watch.feed.watch(self._watch.open_alerts()) as watcher:
            going = True
            while going:
                for alert in watcher.take():
                    yield metrics_pb2.WatchAlertsResponse(alert=alert_message(alert))
                going = await watcher.pause(streams, _LOOK_SECONDS)
        message = "the service is going away: connect again in a moment"
        raise StatusError(UNAVAILABLE, "DRAINING", message, retry_delay_seconds=1.0)

    async def AcknowledgeAlert(  # noqa: N802
        self,
        request: metrics_pb2.AcknowledgeAlertRequest,
        context: Any,  # noqa: ARG002
    ) -> metrics_pb2.AcknowledgeAlertResponse:
        """Record who takes care of an alert."""
        return acknowledge(self._watch, request)
