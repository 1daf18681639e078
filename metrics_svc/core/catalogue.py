"""What is kept of what processes report: metrics, attributes and their values.

Owns the kind and the description of each metric of `lanecast.core.instruments`, and which attributes make a series.
Anything else that is reported is refused (unknown metric or value) or folded together (unknown attribute), so that no
reporter can grow the number of series without limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lanecast.core import instruments as names
from lanecast.core.priority import LANES


class Kind(Enum):
    """How values of a metric combine."""

    HISTOGRAM = "histogram"
    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the catalogue."""

    kind: Kind
    text: str
    """One sentence of description."""


METRICS: dict[str, Metric] = {
    names.HOP_DURATION: Metric(Kind.HISTOGRAM, "Time an event spent in one hop of its way."),
    names.DELIVERY_DURATION: Metric(Kind.HISTOGRAM, "Time from publisher accept, or from send, to delivery."),
    names.EVENTLOOP_LAG: Metric(Kind.HISTOGRAM, "How late the event loop of a process woke up."),
    names.SLO_EVENTS: Metric(Kind.COUNTER, "Deliveries by their result against the objective."),
    names.SLO_FAR_LATE: Metric(Kind.COUNTER, "Deliveries beyond the second limit of their lane."),
    names.SLO_BURN_RATE: Metric(Kind.GAUGE, "Speed at which the error budget is spent; 1 spends it in 30 days."),
    names.SLO_BUDGET_REMAINING: Metric(Kind.GAUGE, "Share of the error budget of 30 days that is left."),
    names.EVENT_ACCEPTED: Metric(Kind.COUNTER, "Events accepted by the publisher."),
    names.EVENT_DELIVERED: Metric(Kind.COUNTER, "Events delivered to browsers."),
    names.EVENT_DUPLICATE: Metric(Kind.COUNTER, "Events acknowledged as duplicates without storing them."),
    names.EVENT_REJECTED: Metric(Kind.COUNTER, "Events refused at publish."),
    names.EVENT_DROPPED: Metric(Kind.COUNTER, "Events dropped on the way, each named by a gap."),
    names.BATCH_SIZE: Metric(Kind.HISTOGRAM, "Events in a batch."),
    names.BATCH_FLUSH: Metric(Kind.COUNTER, "Batches sent, by what let them go."),
    names.QUEUE_DEPTH: Metric(Kind.GAUGE, "Events waiting in queues."),
    names.QUEUE_OLDEST_AGE: Metric(Kind.GAUGE, "How long the oldest event in a queue has waited."),
    names.CONNECTION_ACTIVE: Metric(Kind.GAUGE, "Open connections."),
    names.CONNECTION_BUFFERED: Metric(Kind.GAUGE, "Bytes waiting for slow connections."),
    names.CLOCK_ERROR_BOUND: Metric(Kind.HISTOGRAM, "How wrong a comparison of two clocks may be."),
    names.CLOCK_COARSE: Metric(Kind.COUNTER, "Samples left out because their bound exceeds half the lane's limit."),
    names.CLOCK_SKEWED: Metric(Kind.COUNTER, "Durations that came out negative: two clocks disagree."),
    names.ROLLOUT_STAGE: Metric(Kind.GAUGE, "Share of channels on the candidate, 0 to 1."),
    names.ROLLOUT_TRANSITIONS: Metric(Kind.COUNTER, "Changes of state of rollouts."),
    names.ROLLOUT_RULE_VALUE: Metric(Kind.GAUGE, "What a rule of the running rollout found."),
    names.TELEMETRY_DROPPED: Metric(Kind.COUNTER, "Telemetry items that were not kept."),
    names.SYNTHETIC_ACCEPTED: Metric(Kind.COUNTER, "Events of performance tests accepted by the publisher."),
    names.SYNTHETIC_DELIVERED: Metric(Kind.COUNTER, "Events of performance tests delivered to their subscribers."),
}
"""All metrics that are kept."""

HOPS = ("sdk_queue", "ingest", "log", "lane_wait", "transit", "edge_wait", "socket_write", "last_mile")
"""Values of the attribute `hop`, in the order of an event's way."""

SERVER, END_TO_END = "server", "end_to_end"
SCOPES = (SERVER, END_TO_END)
"""Values of the attribute `scope`."""

OTHER = "other"
"""Value of `type` for events whose own type has no series."""

ATTRIBUTES = frozenset({
    "lane", "hop", "scope", "type", "arm", "policy", "reason", "result", "protocol", "queue", "role", "window",
    "signal", "rollout", "rule",
})  # fmt: skip
"""Attributes that make a series. Counts that differ only in others are added up; a gauge may have no others."""

UNKNOWN_LANE = "unknown"
"""Value of `lane` for refused events that name none."""

_VALUES: dict[str, frozenset[str]] = {
    "lane": frozenset({*(lane.name for lane in LANES), UNKNOWN_LANE}),
    "hop": frozenset(HOPS),
    "scope": frozenset(SCOPES),
    "arm": frozenset({"baseline", "candidate"}),
}
MAX_VALUE_LENGTH = 128
"""Longest attribute value, in characters."""


def keep(key: names.Key) -> names.Key:
    """Return the series that counts what is reported as `key`: without attributes that make no series."""
    if all(name in ATTRIBUTES for name, _ in key.attributes):
        return key
    return names.Key(key.name, tuple(pair for pair in key.attributes if pair[0] in ATTRIBUTES))


def check(key: names.Key, kind: Kind) -> str | None:
    """Return what is wrong with a reported series as a sentence, or None where it can be kept."""
    metric = METRICS.get(key.name)
    if metric is None:
        return f"{key.name!r:.100} is not a metric of Lanecast: send it to a collector of your own"
    if metric.kind is not kind:
        return f"{key.name} is a {metric.kind.value}, not a {kind.value}"
    for name, value in key.attributes:
        if kind is Kind.GAUGE and name not in ATTRIBUTES:
            return f"the attribute {name!r:.100} makes no series, and gauges cannot be added up: leave it out"
        allowed = _VALUES.get(name)
        if allowed is not None and value not in allowed:
            return f"the attribute {name} is {value!r:.100}: use one of {', '.join(sorted(allowed))}"
        if len(value) > MAX_VALUE_LENGTH:
            return f"the attribute {name} has {len(value)} characters: use at most {MAX_VALUE_LENGTH}"
    return None
