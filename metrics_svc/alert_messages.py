"""Translates between alerts and the contract, and asks for them page by page.

Owns the correspondence and the page tokens. Called by the gRPC and HTTP shells.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from lanecast.v1 import event_pb2, metrics_pb2
from metrics_svc.core.alerts import Alert, State
from metrics_svc.core.selection import invalid
from metrics_svc.messages import seconds
from metrics_svc.watch import Watch

DEFAULT_PAGE, MAX_PAGE = 100, 1_000


def alert_message(alert: Alert) -> metrics_pb2.Alert:
    """Return an alert as its message."""
    message = metrics_pb2.Alert(
        id=alert.id,
        rule=alert.rule,
        severity=metrics_pb2.AlertSeverity.ValueType(alert.severity),
        state=metrics_pb2.AlertState.ValueType(alert.state),
        lane=event_pb2.PRIORITY_UNSPECIFIED if alert.lane is None else alert.lane.wire_value,
        summary=alert.summary,
        start_time=_timestamp(alert.start_ns),
        acknowledged_by=alert.acknowledged_by,
    )
    if alert.end_ns:
        message.end_time.CopyFrom(_timestamp(alert.end_ns))
    if alert.silenced_until_ns:
        message.silenced_until.CopyFrom(_timestamp(alert.silenced_until_ns))
    return message


def list_response(alerts: Sequence[Alert], request: metrics_pb2.ListAlertsRequest) -> metrics_pb2.ListAlertsResponse:
    """Return one page of alerts, which are given newest first.

    Raises:
        StatusError: the state, the size or the token is malformed.
    """
    if request.state and int(request.state) not in {int(state) for state in State}:
        raise invalid("STATE_UNKNOWN", "the state is unknown: use pending, firing or resolved", "state")
    if not 0 <= request.page_size <= MAX_PAGE:
        raise invalid("PAGE_SIZE_OUT_OF_RANGE", f"the page size must be from 1 to {MAX_PAGE}", "page_size")
    size = request.page_size or DEFAULT_PAGE
    wanted = [alert for alert in alerts if not request.state or alert.state.value == request.state]
    behind = _behind(wanted, request.page_token)
    page, more = behind[:size], behind[size:]
    return metrics_pb2.ListAlertsResponse(
        alerts=map(alert_message, page), next_page_token=_token(page[-1]) if more else ""
    )


def acknowledge(watch: Watch, request: metrics_pb2.AcknowledgeAlertRequest) -> metrics_pb2.AcknowledgeAlertResponse:
    """Carry out an acknowledgement.

    Raises:
        StatusError: there is no such alert, it is resolved, or the request is malformed.
    """
    silence = seconds(request.silence) if request.HasField("silence") else 0.0
    alert = watch.acknowledge(request.id, request.actor, request.comment, silence)
    return metrics_pb2.AcknowledgeAlertResponse(alert=alert_message(alert))


def _behind(alerts: Sequence[Alert], token: str) -> Sequence[Alert]:
    if not token:
        return alerts
    start, separator, place = token.partition("/")
    if not separator or not start.isdecimal():
        raise invalid("PAGE_TOKEN_MALFORMED", "the page token is not ours: leave it out to begin anew", "page_token")
    last = (int(start), place)  # alerts that came since are newer and do not shift the pages
    return [alert for alert in alerts if (alert.start_ns, alert.id) < last]


def _token(alert: Alert) -> str:
    return f"{alert.start_ns}/{alert.id}"


def _timestamp(time_ns: int) -> Timestamp:
    message = Timestamp()
    message.FromNanoseconds(time_ns)
    return message
