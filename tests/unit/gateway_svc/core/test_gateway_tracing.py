"""Which events have spans, and what a browser may claim."""

from __future__ import annotations

from gateway_fakes import event, item

from gateway_svc.core.items import EventItem
from gateway_svc.core.tracing import BROWSER, LATE_PER_SECOND, MAX_REMEMBERED, Tracing
from lanecast.core.spans import NotedSpan, traceparent
from lanecast.v1.gateway_pb2 import ReceiptSample

TRACE = bytes(range(1, 25))
SAMPLED, UNSAMPLED = TRACE + b"\x01", TRACE + b"\x00"
NOW = 1_000_000_000_000_000
MS = 1_000_000


class Sink:
    def __init__(self) -> None:
        self.spans: list[NotedSpan] = []

    def add(self, span: NotedSpan) -> None:
        self.spans.append(span)


def sent(*contexts: bytes, first: int = 1, accepted: int = NOW, live: bool = True) -> EventItem:
    events = [event(first + number, first + number - 1) for number in range(len(contexts))]
    for each, context in zip(events, contexts, strict=True):
        each.trace_context = context
        each.accept_time_unix_nano = accepted
    made = item(events, live=live)
    made.receive_ns, made.send_ns = NOW + MS // 4, NOW + MS // 2
    return made


def test_only_sampled_events_have_spans_and_the_batch_links_to_them() -> None:
    sink = Sink()
    Tracing(sink).delivered(sent(SAMPLED, UNSAMPLED, b"", b"\x00" * 24 + b"\x01"), 3, NOW + MS)
    deliver, batch = sink.spans
    assert (deliver.name, deliver.parent, deliver.start_ns, deliver.end_ns) == (
        "deliver", SAMPLED, NOW + MS // 4, NOW + MS,
    )  # fmt: skip
    assert (batch.name, batch.links, batch.parent) == ("deliver batch", (SAMPLED,), b"")
    assert batch.known_attributes()["messaging.batch.message_count"] == 4
    assert traceparent(SAMPLED) == f"00-{TRACE[:16].hex()}-{TRACE[16:].hex()}-01"


def test_late_events_have_spans_of_their_own_a_few_a_second() -> None:
    sink = Sink()
    tracing = Tracing(sink)
    late = sent(*[UNSAMPLED] * (LATE_PER_SECOND + 3))
    tracing.delivered(late, 1, NOW + 900 * MS)
    assert [span.late for span in sink.spans] == [True] * LATE_PER_SECOND
    assert {(span.parent, span.links, span.start_ns) for span in sink.spans} == {(b"", (UNSAMPLED,), NOW)}
    tracing.delivered(late, 1, NOW + 1_900 * MS)
    assert len(sink.spans) == 2 * LATE_PER_SECOND


def test_replayed_events_are_never_late() -> None:
    sink = Sink()
    Tracing(sink).delivered(sent(b"", live=False), 1, NOW + 10**12)
    assert sink.spans == []


def test_a_receipt_makes_a_span_only_of_what_was_sent_and_once_for_each_socket() -> None:
    sink = Sink()
    tracing = Tracing(sink)
    tracing.delivered(sent(SAMPLED), 2, NOW + MS)
    sink.spans.clear()
    for context, offset in ((SAMPLED, 9), (UNSAMPLED, 1), (b"", 1), (bytes(24) + b"\x01", 1)):
        tracing.receipt(ReceiptSample(offset=offset, trace_context=context), 300)
    assert sink.spans == []
    for _ in range(3):
        tracing.receipt(ReceiptSample(offset=1, trace_context=SAMPLED, uncertainty_micros=40), 300)
    assert [(span.actor, span.parent, span.start_ns, span.end_ns) for span in sink.spans] == [
        (BROWSER, SAMPLED, NOW + MS // 2, NOW + MS // 2 + 300_000)
    ] * 2
    assert sink.spans[0].known_attributes()["lanecast.clock.error_bound"] == 40 / 1e6


def test_what_is_remembered_is_bounded() -> None:
    tracing = Tracing(Sink())
    for number in range(MAX_REMEMBERED + 5):
        tracing.delivered(sent(SAMPLED, first=number + 1), 1, NOW + MS)
    assert len(tracing._sent) == MAX_REMEMBERED
