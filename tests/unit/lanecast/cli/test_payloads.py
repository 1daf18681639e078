"""Payloads by descriptors, as the publisher sends them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import timestamp_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from lanecast.ai.v1 import concierge_pb2
from lanecast.cli.core.payloads import PayloadTypes, describe_fields, example_data
from lanecast.cli.core.problems import InputError

INSIGHT = "lanecast.ai.v1.ConciergeInsight"


@pytest.fixture
def types() -> PayloadTypes:
    files = FileDescriptorSet()
    for module in (concierge_pb2, timestamp_pb2):  # a file before what it imports: any order will do
        module.DESCRIPTOR.CopyToProto(files.file.add())
    return PayloadTypes([INSIGHT], files)


def test_makes_the_message_that_the_generated_class_makes(types: PayloadTypes) -> None:
    data = {
        "text": "Offer the annual plan.",
        "kind": "INSIGHT_KIND_OBJECTION",
        "turn": 3,
        "utterance_time": "2024-05-01T12:00:00.5Z",
        "evidence": [{"term": "expensive", "weight": 1.5}],
    }
    expected = concierge_pb2.ConciergeInsight(
        text="Offer the annual plan.",
        kind=concierge_pb2.INSIGHT_KIND_OBJECTION,
        turn=3,
        utterance_time=timestamp_pb2.Timestamp(seconds=1714564800, nanos=500_000_000),
        evidence=[concierge_pb2.InsightEvidence(term="expensive", weight=1.5)],
    )

    message = types.parse(INSIGHT, data)

    assert message.SerializeToString() == expected.SerializeToString()
    assert message.DESCRIPTOR.full_name == INSIGHT


def test_the_type_may_be_written_as_a_url(types: PayloadTypes) -> None:
    assert types.parse(f"type.googleapis.com/{INSIGHT}", {"text": "x"}) == types.parse(INSIGHT, {"text": "x"})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lanecast.ai.v1.ConciergeInsigt", "did you mean lanecast.ai.v1.ConciergeInsight?"),
        ("conciergeinsight", "did you mean lanecast.ai.v1.ConciergeInsight?"),
        ("my.Type", "use one of those that `lanecast types` lists"),
        ("lanecast.ai.v1.InsightEvidence", "unknown type"),  # described, but not to be published
    ],
)
def test_says_that_a_type_is_unknown(types: PayloadTypes, name: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        types.parse(name, {})
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"txt": "x"}, "has no field 'txt': use text, kind"),
        ({"text": 3}, "text"),
        ({"kind": "INSIGHT_KIND_NONE"}, "kind"),
        ({"turn": -1}, "turn"),
        ({"evidence": [{"trm": "x"}]}, 'no field named "trm"'),
        ({"utteranceTime": "soon"}, "utteranceTime"),
        ("text", "data must be a JSON object"),
        (None, "data must be a JSON object"),
    ],
)
def test_says_what_does_not_fit(types: PayloadTypes, data: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        types.parse(INSIGHT, data)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shows_a_packed_payload(types: PayloadTypes) -> None:
    packed = AnyMessage()
    packed.Pack(concierge_pb2.ConciergeInsight(text="x", conversation_id="c1"))

    assert types.to_json(packed) == {"text": "x", "conversationId": "c1"}


def test_shows_nothing_of_what_it_does_not_know(types: PayloadTypes) -> None:
    assert types.to_json(AnyMessage(type_url="type.googleapis.com/my.Type", value=b"")) is None
    assert types.to_json(AnyMessage(type_url=f"type.googleapis.com/{INSIGHT}", value=b"\xff")) is None


def test_describes_fields(types: PayloadTypes) -> None:
    fields = {field["name"]: field for field in describe_fields(types.descriptor(INSIGHT))}

    assert fields["conversation_id"] == {
        "name": "conversation_id",
        "json_name": "conversationId",
        "type": "string",
    }
    assert fields["evidence"]["type"] == "repeated lanecast.ai.v1.InsightEvidence"
    assert "INSIGHT_KIND_OBJECTION" in fields["kind"]["values"]


def test_the_example_of_a_type_can_be_published(types: PayloadTypes) -> None:
    example = example_data(types.descriptor(INSIGHT))

    assert example
    types.parse(INSIGHT, example)
