"""What the publisher counts of its batches, and notes of sampled events."""

from __future__ import annotations

from lanecast.core.instruments import BATCH_FLUSH, BATCH_SIZE, Instruments
from lanecast.core.policy import BUILT_IN
from lanecast.core.priority import Priority
from lanecast.core.spans import NotedSpan
from lanecast.v1.event_pb2 import Event
from publisher_svc.core.downstream import Downstream
from publisher_svc.core.group import Group
from publisher_svc.core.tally import BatchTally
from publisher_svc.core.tracing import Tracing
from publisher_svc.log.base import Entry

SAMPLED = bytes(range(1, 25)) + b"\x01"
NORMAL, LOW = Priority.NORMAL, Priority.LOW


def reasons(policy: str, *offers: tuple[Priority, int], later_ns: int = 0) -> dict[tuple[str, str], int]:
    tally, instruments = BatchTally(), Instruments()
    downstream = Downstream(
        (), {}, max_message_events=1_000, max_message_bytes=1 << 20, policy=BUILT_IN[policy], tally=tally
    )
    now = 10**15
    for number, (lane, events) in enumerate(offers):
        channel = f"c{number}"
        downstream.add(channel, lane, 0, live=True)
        downstream.offer(Group(channel, lane, b"", [b"x"] * events, events, events), now)
    downstream.take(now + later_ns)
    tally.move(instruments)
    tally.move(instruments)
    taken = [(key.name, dict(key.attributes), amount) for key, amount in instruments.take_counters()]
    found = {(of["lane"], of["reason"]): amount for name, of, amount in taken if name == BATCH_FLUSH}
    sizes = [sketch.sum_ns // 10**9 for key, sketch in instruments.take_sketches() if key.name == BATCH_SIZE]
    assert sum(sizes) == sum(events for _, events in offers if found)
    return found


def test_a_batch_is_counted_with_what_let_it_go() -> None:
    assert reasons("default", (NORMAL, 3)) == {("NORMAL", "idle"): 1}
    assert reasons("default", (NORMAL, 64)) == {("NORMAL", "full"): 1}
    assert reasons("default", (NORMAL, 3), (NORMAL, 2)) == {("NORMAL", "idle"): 2}
    assert reasons("legacy-500ms", (NORMAL, 3)) == {}
    assert reasons("legacy-500ms", (NORMAL, 3), later_ns=500_000_000) == {("NORMAL", "window"): 1}


class Sink(list[NotedSpan]):
    def add(self, span: NotedSpan) -> None:
        self.append(span)


def test_sampled_events_of_a_commit_have_spans_and_the_commit_links_to_them() -> None:
    sink = Sink()
    members = [
        (Entry("c", LOW, str(number), b"", 1_000 + number), Event(trace_context=context, send_time_unix_nano=400))
        for number, context in enumerate((b"", SAMPLED, SAMPLED[:24] + b"\x00"))
    ]
    Tracing(sink).committed(iter(members), len(members), 9_000)
    span, commit = sink
    assert (span.name, span.parent, span.start_ns, span.end_ns) == ("receive", SAMPLED, 1_001, 9_000)
    assert span.known_attributes()["lanecast.hop.log"] == 7_999 / 1e9
    assert span.known_attributes()["lanecast.hop.ingest"] == 601 / 1e9
    assert (commit.name, commit.links) == ("commit", (SAMPLED,))
    assert commit.known_attributes()["messaging.batch.message_count"] == 3
    sink.clear()
    Tracing(sink).committed(iter(members[:1]), 1, 9_000)
    assert sink == []
