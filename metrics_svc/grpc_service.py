"""Answers `lanecast.v1.MetricsService` over gRPC, and says UNIMPLEMENTED for what is not there yet.

Owns nothing but the rpcs: requests become selections, reports become responses. Registered by `app`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from lanecast.errors import StatusError
from lanecast.runtime.agent import in_turns
from lanecast.v1 import metrics_pb2
from metrics_svc import messages
from metrics_svc.alert_rpcs import AlertRpcs
from metrics_svc.core import selection as limits
from metrics_svc.core.plot import DEFAULT_WINDOW_SECONDS
from metrics_svc.core.queries import Queries
from metrics_svc.streams import UNAVAILABLE, Streams
from metrics_svc.watch import Watch

UNIMPLEMENTED = 12
"""The canonical gRPC code."""
_NOTHING: tuple[None, ...] = ()


class MetricsServicer(AlertRpcs):
    """The rpcs of MetricsService."""

    def __init__(
        self,
        queries: Queries,
        streams: Streams,
        clock_ns: Callable[[], int],
        watch: Watch,
        others: Sequence[object] = (),
    ) -> None:
        """Serve the rpcs about figures and alerts; those of `others`, by their names, serve the rest."""
        super().__init__(watch, streams)
        self._others = tuple(others)
        self._queries = queries
        self._streams = streams
        self._clock_ns = clock_ns

    async def GetLatency(  # noqa: N802 - the contract's name
        self,
        request: metrics_pb2.GetLatencyRequest,
        context: Any,  # noqa: ARG002 - grpc's signature
    ) -> metrics_pb2.GetLatencyResponse:
        """Return latency per lane, scope and hop."""
        window = _window(request, limits.DEFAULT_WINDOW_SECONDS)
        chosen = messages.selection(request.filter)
        return messages.latency_response(self._queries.latency(chosen, self._clock_ns(), window))

    async def GetThroughput(  # noqa: N802
        self,
        request: metrics_pb2.GetThroughputRequest,
        context: Any,  # noqa: ARG002
    ) -> metrics_pb2.GetThroughputResponse:
        """Return rates per lane, connections and processes."""
        window = _window(request, limits.DEFAULT_WINDOW_SECONDS)
        chosen = messages.selection(request.filter)
        return messages.throughput_response(self._queries.throughput(chosen, self._clock_ns(), window))

    async def GetOptimizationStatus(  # noqa: N802
        self,
        request: metrics_pb2.GetOptimizationStatusRequest,
        context: Any,  # noqa: ARG002
    ) -> metrics_pb2.GetOptimizationStatusResponse:
        """Return the grade with its reasons."""
        window = _window(request, limits.DEFAULT_STATUS_WINDOW_SECONDS)
        return messages.status_response(self._queries.status(self._clock_ns(), window))

    async def GetHistory(  # noqa: N802
        self,
        request: metrics_pb2.GetHistoryRequest,
        context: Any,  # noqa: ARG002
    ) -> metrics_pb2.GetHistoryResponse:
        """Return latency and rates over time."""
        window = _window(request, DEFAULT_WINDOW_SECONDS)
        steps = await in_turns(self._queries.history(self._clock_ns(), window))
        return messages.history_response(window, steps)

    async def WatchMetrics(  # noqa: N802
        self,
        request: metrics_pb2.WatchMetricsRequest,
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[metrics_pb2.WatchMetricsResponse]:
        """Yield latency and throughput at an interval until cancelled or drained."""
        interval = limits.check_interval(messages.seconds(request.interval) if request.HasField("interval") else None)
        window = _window(request, limits.DEFAULT_WATCH_WINDOW_SECONDS, limits.MAX_WATCH_WINDOW_SECONDS)
        chosen = messages.selection(request.filter)
        with self._streams.enter():
            while True:
                now_ns = self._clock_ns()
                latency = self._queries.latency(chosen, now_ns, window)
                yield messages.watch_response(latency, self._queries.throughput(chosen, now_ns, window))
                if not await self._streams.pause(interval):
                    break
        message = "the service is going away: connect again in a moment"
        raise StatusError(UNAVAILABLE, "DRAINING", message, retry_delay_seconds=1.0)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the rpc of another servicer, or an answer for those of the contract that are not served yet."""
        for other in self.__dict__.get("_others", ()):
            if name in dir(type(other)) and not name.startswith("_"):
                found: Callable[..., Any] = getattr(other, name)
                return found
        method = metrics_pb2.DESCRIPTOR.services_by_name["MetricsService"].methods_by_name.get(name)
        if method is None:
            raise AttributeError(name)
        return _unimplemented(method)


def _unimplemented(method: MethodDescriptor) -> Callable[..., Any]:
    text = f"{method.full_name} is not served by this version of Lanecast: see CHANGELOG.md for what each version has"
    error = StatusError(UNIMPLEMENTED, "UNIMPLEMENTED", text)

    async def refuse(request: Any, context: Any) -> None:  # noqa: ARG001 - grpc's signature
        raise error

    async def refuse_stream(request: Any, context: Any) -> AsyncIterator[None]:  # noqa: ARG001
        for nothing in _NOTHING:  # makes this a generator, which server streams are
            yield nothing
        raise error

    return refuse_stream if method.server_streaming and not method.client_streaming else refuse


def _window(request: Any, default: int, maximum: int = limits.MAX_WINDOW_SECONDS) -> int:
    given = messages.seconds(request.window) if request.HasField("window") else None
    return limits.check_window(given, default, maximum)
