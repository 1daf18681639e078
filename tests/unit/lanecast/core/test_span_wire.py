"""Hand-written OTLP held against opentelemetry-proto's classes."""

from __future__ import annotations

from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from lanecast.core import span_wire
from lanecast.core.spans import AttributeValue, NotedSpan

KINDS = {"internal": Span.SPAN_KIND_INTERNAL, "producer": Span.SPAN_KIND_PRODUCER, "consumer": Span.SPAN_KIND_CONSUMER}
contexts = st.binary(min_size=24, max_size=24).map(lambda ids: ids + b"\x01")
times = st.integers(0, 2**63)
values = st.one_of(
    st.text(max_size=300), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.just(0)
)
spans = st.builds(
    NotedSpan,
    st.text(max_size=200),
    st.sampled_from(sorted(KINDS)),
    times,
    times,
    st.one_of(st.just(b""), contexts),
    st.dictionaries(st.text(min_size=1, max_size=40), values, max_size=12),
    st.lists(contexts, max_size=4).map(tuple),
)


def any_value(value: AttributeValue) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(double_value=value)


def expected(noted: NotedSpan, trace_id: bytes, span_id: bytes) -> Span:
    remote = 0x300  # the parent is known to be in another process
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=noted.parent[16:24],
        name=noted.name,
        kind=KINDS[noted.kind],
        start_time_unix_nano=noted.start_ns,
        end_time_unix_nano=max(noted.start_ns, noted.end_ns),
        attributes=[KeyValue(key=name, value=any_value(value)) for name, value in noted.known_attributes().items()],
        links=[Span.Link(trace_id=each[:16], span_id=each[16:24], flags=each[24] | remote) for each in noted.links],
        flags=0x01 | (remote if noted.parent else 0x100),
    )


@settings(max_examples=effort(60), deadline=None)
@given(st.lists(st.tuples(spans, st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8)), max_size=3))
def test_spans_and_requests_are_what_the_generated_classes_write(noted: list[tuple[NotedSpan, bytes, bytes]]) -> None:
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="gateway_svc"))])
    scope = InstrumentationScope(name="lanecast", version="1")
    encoded = [span_wire.span(*each) for each in noted]
    request = span_wire.request(resource.SerializeToString(), scope.SerializeToString(), encoded)
    scoped = ScopeSpans(scope=scope, spans=[expected(*each) for each in noted])
    assert ExportTraceServiceRequest.FromString(request) == ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[scoped])]
    )
