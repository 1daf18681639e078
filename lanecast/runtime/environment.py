"""What the standard OpenTelemetry variables say.

Owns which of `OTEL_SDK_DISABLED`, `OTEL_{METRICS,TRACES}_EXPORTER`, `OTEL_EXPORTER_OTLP_*` and `OTEL_BSP_*` decide
whether and how this process exports. Endpoints, headers, certificates, compression and time-outs are read by
OpenTelemetry's own exporters, which are made here. Used by `telemetry`, `collector` and `traces`. Imports OpenTelemetry
only where a collector is named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from grpc import Compression

from lanecast.errors import ConfigError
from lanecast.runtime import otlp

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource

T = TypeVar("T")
Signal = Literal["METRICS", "TRACES"]

_PREFIX = "OTEL_EXPORTER_OTLP_"
_PROTOCOLS = ("grpc", "http/protobuf")


def disabled(environ: Mapping[str, str] | None = None) -> bool:
    """Say whether all telemetry is switched off, also that to metrics_svc."""
    environ = os.environ if environ is None else environ
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def exports(signal: Signal, environ: Mapping[str, str] | None = None) -> bool:
    """Say whether a signal is to be exported: a collector is named, and nothing switches it off.

    Raises:
        ConfigError: an exporter is asked for that there is not.
    """
    environ = os.environ if environ is None else environ
    if disabled(environ):
        return False
    wanted = environ.get(f"OTEL_{signal}_EXPORTER", "").strip() or "otlp"
    if wanted not in {"otlp", "none"}:
        raise ConfigError(f"OTEL_{signal}_EXPORTER is {wanted!r}: use otlp, or none")
    named = environ.get(f"{_PREFIX}{signal}_ENDPOINT") or environ.get(f"{_PREFIX}ENDPOINT")
    return wanted == "otlp" and bool(named)


def number(name: str, default: int, *, least: int = 1, environ: Mapping[str, str] | None = None) -> int:
    """Return the value of a variable that is a whole number.

    Raises:
        ConfigError: it is none, or too small.
    """
    text = (os.environ if environ is None else environ).get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ConfigError(f"{name} is {text!r}: use a whole number from {least} on")
    return int(text)


def resource(service: str, instance: str) -> Resource:
    """Return who reports to a collector. What the variables say goes before what the service knows of itself."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    return Resource.create(dict(otlp.identity(service, instance))).merge(OTELResourceDetector().detect())


def protocol(signal: Signal, environ: Mapping[str, str] | None = None) -> str:
    """Return the protocol of a signal.

    Raises:
        ConfigError: there is no such protocol.
    """
    environ = os.environ if environ is None else environ
    name = f"{_PREFIX}{signal}_PROTOCOL"
    if not environ.get(name):
        name = f"{_PREFIX}PROTOCOL"
    found = environ.get(name, "").strip() or "grpc"
    if found not in _PROTOCOLS:
        raise ConfigError(f"{name} is {found!r}: use {' or '.join(_PROTOCOLS)}")
    return found


def metric_exporter() -> MetricExporter:
    """Return OpenTelemetry's exporter of metrics.

    Raises:
        ConfigError: a variable cannot be used.
    """
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http

    return _made(Grpc if protocol("METRICS") == "grpc" else Http)


class SpanSender(Protocol):
    """Sends spans that are encoded already."""

    def send(self, request: bytes, spans: int) -> bool:
        """Send a serialised `ExportTraceServiceRequest` of so many spans; say whether it arrived. Waits."""

    def shutdown(self) -> None:
        """End a try that is under way."""


def span_sender() -> SpanSender:
    """Return OpenTelemetry's exporter of spans, in a form that takes them encoded.

    Raises:
        ConfigError: a variable cannot be used.
    """
    from lanecast.runtime.span_senders import GrpcSpanSender, HttpSpanSender

    if protocol("TRACES") == "grpc":
        return _made(GrpcSpanSender)
    return _made(HttpSpanSender)


def _made(kind: Callable[[], T]) -> T:
    from opentelemetry.exporter.otlp.proto.grpc.exporter import InvalidCompressionValueException

    try:
        return kind()
    except (ValueError, OSError, InvalidCompressionValueException) as error:
        known = ", ".join(sorted({"none", Compression.Gzip.name.lower()}))
        raise ConfigError(
            f"the {_PREFIX}* variables cannot be used ({error}): compression is one of {known}, timeouts are numbers"
        ) from error
