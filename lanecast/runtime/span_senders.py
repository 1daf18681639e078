"""OpenTelemetry's exporters of spans, given bytes.

Owns the two places where they encode what they are given, and replaces that: endpoint, headers, certificates,
compression, time-outs and retries stay theirs. Made by `environment`. Depends on how these exporters are put together
inside; tests/integration/telemetry sends over both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as _Grpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as _Http
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult


class _Encoded:
    """What the exporter over gRPC takes for a sequence of spans."""

    def __init__(self, request: bytes, spans: int) -> None:
        self.request = ExportTraceServiceRequest.FromString(request)
        self.spans = spans


class GrpcSpanSender(_Grpc):
    """Sends over gRPC; see `environment.SpanSender`."""

    def send(self, request: bytes, spans: int) -> bool:
        """See `environment.SpanSender.send`."""
        encoded = cast("Sequence[ReadableSpan]", _Encoded(request, spans))
        return self.export(encoded) is SpanExportResult.SUCCESS

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return cast("_Encoded", data).request

    def _count_data(self, data: Sequence[ReadableSpan]) -> int:
        return cast("_Encoded", data).spans


class HttpSpanSender(_Http):
    """Sends over HTTP; see `environment.SpanSender`."""

    def send(self, request: bytes, spans: int) -> bool:  # noqa: ARG002 - the interface
        """See `environment.SpanSender.send`."""
        return not self._shutdown and bool(self._client.export(request).success)
