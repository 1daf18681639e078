"""Puts the parts that serve rollouts together.

Owns which there are, and what a change of a rollout is told to: telemetry and the webhook. Built by `app`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from lanecast.core.bucketing import BUCKETS
from lanecast.core.instruments import (
    EVENT_DELIVERED,
    ROLLOUT_RULE_VALUE,
    ROLLOUT_STAGE,
    ROLLOUT_TRANSITIONS,
    Key,
)
from lanecast.core.priority import Priority
from lanecast.v1 import rollout_pb2
from metrics_svc.core.catalogue import Kind
from metrics_svc.core.notices import Notice
from metrics_svc.core.rollout.history import LOOK, MOVED, Entry
from metrics_svc.core.rollout.model import Rollout
from metrics_svc.core.telemetry import NANOS, Point, Process, Telemetry
from metrics_svc.rollout.controller import Controller
from metrics_svc.rollout.service import RolloutServicer
from metrics_svc.rollout.store import RolloutStore
from metrics_svc.streams import Streams
from metrics_svc.webhook import Webhook

SERVICE = rollout_pb2.DESCRIPTOR.services_by_name["RolloutService"]
_RATE_SECONDS = 60


class Rollouts:
    """Everything about rollouts in one metrics_svc process. Use: `start`, `close`."""

    def __init__(
        self,
        store: RolloutStore,
        telemetry: Telemetry,
        streams: Streams,
        clock_ns: Callable[[], int],
        instance: str,
        webhook: Webhook,
    ) -> None:
        self._telemetry = telemetry
        self._clock_ns = clock_ns
        self._process = Process("metrics_svc", instance)
        self._webhook = webhook
        self.controller = Controller(store, clock_ns, time.monotonic, self._rate, self._on_change)
        self.servicer = RolloutServicer(self.controller, streams)

    async def start(self) -> None:
        """Take up what was under way."""
        self._webhook.start()
        await self.controller.start()

    async def close(self) -> None:
        """Stop. Idempotent."""
        await self.controller.close()
        await self._webhook.close()

    def _rate(self, lane: Priority) -> float:
        now_ns = self._clock_ns()
        now = now_ns // NANOS
        span = self._telemetry.span(now - _RATE_SECONDS, now, now_ns)
        return span.total(self._telemetry.series(EVENT_DELIVERED, lane=lane.name)) / span.seconds

    def _on_change(self, rollout: Rollout, entries: Sequence[Entry]) -> None:
        now_ns = self._clock_ns()
        points = [_gauge(now_ns, ROLLOUT_STAGE, rollout.exposure / BUCKETS, rollout=rollout.id)]
        for entry in entries:
            if entry.kind == MOVED:
                name = (("reason", entry.data["state"]), ("rollout", rollout.id))
                points.append(Point(Key(ROLLOUT_TRANSITIONS, name), Kind.COUNTER, 0, now_ns, 1))
                self._webhook.send([change_notice(rollout, entry)])
            if entry.kind == LOOK:
                points += [
                    _gauge(now_ns, ROLLOUT_RULE_VALUE, result["value"], rollout=rollout.id, rule=result["rule"])
                    for result in entry.data["results"]
                    if result["value"] is not None
                ]
        self._telemetry.add(self._process, points, now_ns)


def _gauge(now_ns: int, name: str, value: float, **attributes: str) -> Point:
    return Point(Key(name, tuple(sorted(attributes.items()))), Kind.GAUGE, 0, now_ns, float(value))


def change_notice(rollout: Rollout, entry: Entry) -> Notice:
    """Return the notification of a change of state; those of one rollout go in their order."""
    document = {
        "kind": "rollout",
        "rollout": rollout.id,
        "baseline": rollout.plan.baseline,
        "candidate": rollout.plan.candidate,
        "from": entry.data["from"],
        "state": entry.data["state"],
        "hold": entry.data["hold"],
        "exposure_percent": entry.data["exposure"] / 100,
        "generation": entry.data["generation"],
        "reason": entry.reason,
        "actor": entry.actor,
        "time_unix_nano": entry.time_ns,
    }
    key = f"{rollout.id}:{entry.time_ns}-{entry.data['state']}"
    return Notice(key, entry.time_ns, json.dumps(document, ensure_ascii=False))
