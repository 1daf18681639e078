"""Commands and events as JSON."""

from __future__ import annotations

import json

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP_FILE
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from gateway_svc.core.commands import CommandError, parse
from gateway_svc.core.types import TypeBook
from lanecast.ai.v1 import concierge_pb2
from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.v1.event_pb2 import PRIORITY_CRITICAL, PRIORITY_HIGH, PRIORITY_LOW, Event, EventBatch
from lanecast.v1.gateway_pb2 import ClientFrame
from lanecast.v1.publisher_pb2 import START_LAST_N


def from_json(value: object) -> ClientFrame:
    return parse(json.dumps(value).encode(), binary=False)


def test_short_and_long_names_are_the_same() -> None:
    frame = from_json(
        {
            "subscribe": {
                "channel": "a",
                "lanes": ["critical", "PRIORITY_HIGH"],
                "start": "LAST_N",
                "lastN": 3,
                "positions": [{"lane": "LOW", "epoch": "A", "offset": "9007199254740993"}],
            }
        }
    )
    command = frame.subscribe
    assert list(command.lanes) == [PRIORITY_CRITICAL, PRIORITY_HIGH]
    assert (command.start, command.last_n) == (START_LAST_N, 3)
    assert (command.positions[0].lane, command.positions[0].offset) == (PRIORITY_LOW, 9_007_199_254_740_993)


def test_unknown_fields_of_a_newer_client_are_ignored() -> None:
    assert from_json({"subscribe": {"channel": "a", "newThing": 1}}).subscribe.channel == "a"


@pytest.mark.parametrize(
    "data", [b"", b"null", b"7", b"[]", b"{}", b'{"subscribe": 3}', b'{"subscribe": {"lanes": "x"}}', b"{" * 5_000]
)
def test_what_is_no_command_says_so(data: bytes) -> None:
    with pytest.raises(CommandError, match="frame"):
        parse(data, binary=False)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_command_or_an_error(data: bytes, binary: bool) -> None:
    try:
        parse(data, binary=binary)
    except CommandError:
        return


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda each: st.lists(each) | st.dictionaries(
        st.sampled_from(["subscribe", "hello", "receipt", "samples", "lanes", "lane", "positions", "start", "x"]), each
    ),
)  # fmt: skip


@given(json_values)
def test_any_json_is_a_command_or_an_error(value: object) -> None:
    try:
        from_json(value)
    except CommandError:
        return


@pytest.fixture
def types() -> TypeBook:
    book = TypeBook()
    files = FileDescriptorSet()
    TIMESTAMP_FILE.CopyToProto(files.file.add())
    concierge_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    for needed in concierge_pb2.DESCRIPTOR.dependencies:
        if needed.name != TIMESTAMP_FILE.name:
            needed.CopyToProto(files.file.add())
    files.file.reverse()
    book.update("v1", ["lanecast.ai.v1.ConciergeInsight", "google.protobuf.Timestamp"], files)
    return book


def shown(types: TypeBook, payload: AnyMessage) -> dict[str, object]:
    batch = EventBatch(channel="c", lane=PRIORITY_HIGH, epoch="A", events=[Event(id="e", offset=5, data=payload)])
    frame = json.loads(types.encode_batch(batch))["events"]
    assert (frame["channel"], frame["lane"], frame["events"][0]["offset"]) == ("c", "PRIORITY_HIGH", "5")
    return dict(frame["events"][0]["data"])


def test_a_known_payload_is_shown_as_json(types: TypeBook) -> None:
    payload = AnyMessage()
    payload.Pack(ConciergeInsight(text="hä"))
    assert shown(types, payload) == {"@type": payload.type_url, "text": "hä"}


def test_a_well_known_payload_stands_under_value(types: TypeBook) -> None:
    payload = AnyMessage()
    payload.Pack(Timestamp(seconds=0))
    assert shown(types, payload) == {"@type": payload.type_url, "value": "1970-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "payload",
    [
        AnyMessage(type_url="type.googleapis.com/acme.Unknown", value=b"\x01\x02"),
        AnyMessage(type_url="type.googleapis.com/lanecast.ai.v1.ConciergeInsight", value=b"\x01\x02"),
    ],
    ids=["unknown", "broken"],
)
def test_what_cannot_be_read_is_shown_as_base64(types: TypeBook, payload: AnyMessage) -> None:
    assert shown(types, payload) == {"@type": payload.type_url, "value": "AQI="}


def test_descriptors_in_a_circle_are_refused() -> None:
    files = FileDescriptorSet()
    for name, needed in (("a.proto", "b.proto"), ("b.proto", "a.proto")):
        files.file.add(name=name, dependency=[needed])
    with pytest.raises(TypeError, match="circle"):
        TypeBook().update("v1", [], files)
