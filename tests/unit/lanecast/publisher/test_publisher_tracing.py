"""The trace context that the SDK puts into an event."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry.sdk.trace import TracerProvider

from lanecast.core.spans import is_sampled
from lanecast.publisher.tracing import current_context


def test_it_is_that_of_the_current_span_with_its_sampling_flag() -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    assert current_context() == b""
    with tracer.start_as_current_span("work") as span:
        context = span.get_span_context()
        expected = context.trace_id.to_bytes(16) + context.span_id.to_bytes(8) + bytes((context.trace_flags,))
        assert current_context() == expected
        assert is_sampled(expected)


def test_a_program_without_opentelemetry_does_not_get_it_imported() -> None:
    code = (
        "import sys, lanecast; from lanecast.publisher.tracing import current_context; lanecast.AsyncPublisher;"
        "assert current_context() == b''; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
