"""Translates between the contracts and the core: requests to selections, reports to responses.

Owns the correspondence of names. Called by the gRPC and HTTP shells; decides nothing.
"""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from lanecast.core.priority import Priority
from lanecast.v1 import event_pb2, metrics_pb2
from metrics_svc.core.grade import LaneStatus, Status
from metrics_svc.core.latency import HOP, LatencyFigure, LatencyReport
from metrics_svc.core.plot import LaneStep, Step, step_of
from metrics_svc.core.selection import Selection, check_types, invalid
from metrics_svc.core.telemetry import NANOS
from metrics_svc.core.throughput import ThroughputFigure, ThroughputReport

_SCOPES = {
    HOP: metrics_pb2.LATENCY_SCOPE_HOP,
    "server": metrics_pb2.LATENCY_SCOPE_SERVER,
    "end_to_end": metrics_pb2.LATENCY_SCOPE_END_TO_END,
}
_ARMS = {"": event_pb2.ARM_UNSPECIFIED, "baseline": event_pb2.ARM_BASELINE, "candidate": event_pb2.ARM_CANDIDATE}
_ARM_NAMES = {number: name for name, number in _ARMS.items()}


def selection(message: metrics_pb2.MetricsFilter) -> Selection:
    """Return what a filter selects.

    Raises:
        StatusError: a lane or arm is unknown, or a type malformed.
    """
    try:
        lanes = tuple(dict.fromkeys(Priority(number) for number in message.lanes))
    except ValueError as error:
        raise invalid("LANE_UNKNOWN", "filter.lanes has an unknown lane: use 1 to 4", "filter.lanes") from error
    if message.arm not in _ARM_NAMES:
        raise invalid("ARM_UNKNOWN", "filter.arm is unknown: use baseline or candidate", "filter.arm")
    return Selection(lanes, check_types(tuple(message.types)), _ARM_NAMES[message.arm])


def seconds(message: Duration) -> float:
    """Return a duration in seconds."""
    return message.seconds + message.nanos / 1e9


def latency_response(report: LatencyReport) -> metrics_pb2.GetLatencyResponse:
    """Return a latency report as its message."""
    return metrics_pb2.GetLatencyResponse(
        end_time=timestamp(report.end_ns),
        window=_duration(report.window_seconds),
        figures=map(latency_figure, report.figures),
    )


def throughput_response(report: ThroughputReport) -> metrics_pb2.GetThroughputResponse:
    """Return a throughput report as its message."""
    return metrics_pb2.GetThroughputResponse(
        end_time=timestamp(report.end_ns),
        window=_duration(report.window_seconds),
        figures=map(_throughput_figure, report.figures),
        connections=max(0, report.connections),
        processes=[
            metrics_pb2.ReportingProcess(
                service=process.service, instance=process.instance, last_report_time=timestamp(last)
            )
            for process, last in report.processes
        ],
    )


def status_response(status: Status) -> metrics_pb2.GetOptimizationStatusResponse:
    """Return the grade as its message."""
    return metrics_pb2.GetOptimizationStatusResponse(
        grade=metrics_pb2.Grade.ValueType(status.grade),
        score=status.score,
        lanes=map(_lane_status, status.lanes),
        advice=[metrics_pb2.Advice(action=item.action, evidence=item.evidence) for item in status.advice],
        types=[
            metrics_pb2.TypeStatus(
                type=one.type,
                grade=metrics_pb2.Grade.ValueType(one.grade),
                score=one.score,
                lanes=map(_lane_status, one.lanes),
            )
            for one in status.types
        ],
    )


def history_response(window_seconds: int, steps: tuple[Step, ...]) -> metrics_pb2.GetHistoryResponse:
    """Return figures over time as their message."""
    return metrics_pb2.GetHistoryResponse(
        step=_duration(step_of(window_seconds)),
        points=[
            metrics_pb2.HistoryPoint(start_time=timestamp(step.start * NANOS), figures=map(_history_figure, step.lanes))
            for step in steps
        ],
    )


def _history_figure(lane: LaneStep) -> metrics_pb2.HistoryFigure:
    return metrics_pb2.HistoryFigure(
        lane=event_pb2.Priority.ValueType(lane.lane),
        count=lane.count,
        p50_seconds=lane.p50,
        p99_seconds=lane.p99,
        within_budget=lane.within_budget,
        accepted_per_second=lane.accepted,
        delivered_per_second=lane.delivered,
        rejected_per_second=lane.rejected,
        dropped_per_second=lane.dropped,
    )


def watch_response(latency: LatencyReport, throughput: ThroughputReport) -> metrics_pb2.WatchMetricsResponse:
    """Return both reports of one moment."""
    return metrics_pb2.WatchMetricsResponse(
        latency=latency_response(latency), throughput=throughput_response(throughput)
    )


def latency_figure(figure: LatencyFigure) -> metrics_pb2.LatencyFigure:
    """Return a latency figure as its message."""
    return metrics_pb2.LatencyFigure(
        scope=_SCOPES[figure.scope],
        hop=_hop(figure.hop),
        lane=event_pb2.Priority.ValueType(figure.lane),
        type=figure.type,
        arm=_ARMS[figure.arm],
        count=figure.count,
        p50_seconds=figure.p50,
        p95_seconds=figure.p95,
        p99_seconds=figure.p99,
        p999_seconds=figure.p999,
        max_seconds=figure.maximum,
        mean_seconds=figure.mean,
        budget_seconds=figure.budget,
        within_budget=figure.within_budget,
        clock_error_bound_seconds=figure.clock_bound,
    )


def _lane_status(lane: LaneStatus) -> metrics_pb2.LaneStatus:
    return metrics_pb2.LaneStatus(
        lane=event_pb2.Priority.ValueType(lane.lane),
        good_ratio=lane.good_ratio,
        objective=lane.objective,
        budget_remaining=lane.budget_remaining,
        slowest_hop=_hop(lane.slowest_hop),
        reason=lane.reason,
    )


def _throughput_figure(figure: ThroughputFigure) -> metrics_pb2.ThroughputFigure:
    return metrics_pb2.ThroughputFigure(
        lane=event_pb2.Priority.ValueType(figure.lane),
        accepted_per_second=figure.accepted,
        delivered_per_second=figure.delivered,
        rejected_per_second=figure.rejected,
        duplicate_per_second=figure.duplicate,
        dropped_per_second=figure.dropped,
        mean_batch_size=figure.mean_batch_size,
        queue_depth=max(0, figure.queue_depth),
    )


def _hop(name: str) -> metrics_pb2.Hop.ValueType:
    return metrics_pb2.Hop.Value(f"HOP_{name.upper()}") if name else metrics_pb2.HOP_UNSPECIFIED


def timestamp(nanos: int) -> Timestamp:
    """Return a time in nanoseconds since the Unix epoch as its message."""
    message = Timestamp()
    message.FromNanoseconds(nanos)
    return message


def _duration(length: float) -> Duration:
    message = Duration()
    message.FromNanoseconds(round(length * 1e9))
    return message
