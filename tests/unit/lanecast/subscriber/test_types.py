"""Finding the message class of a payload."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.subscriber.types import TypeResolver

PREFIX = "type.googleapis.com/"


def descriptors() -> FileDescriptorSet:
    """Return two files of which the first imports the second."""
    inner = FileDescriptorProto(name="inner.proto", package="example", syntax="proto3")
    inner.message_type.add(name="Inner").field.add(
        name="text", number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    outer = FileDescriptorProto(name="outer.proto", package="example", syntax="proto3", dependency=["inner.proto"])
    outer.message_type.add(name="Outer").field.add(
        name="inner",
        number=1,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=".example.Inner",
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    return FileDescriptorSet(file=[outer, inner])


def test_generated_classes_are_preferred() -> None:
    assert TypeResolver().find(PREFIX + "lanecast.ai.v1.ConciergeInsight") is ConciergeInsight


def test_other_types_come_from_the_descriptors_of_the_service_in_any_order() -> None:
    types = TypeResolver()
    assert types.find(PREFIX + "example.Outer") is None
    types.load("v1", descriptors())
    outer = types.find(PREFIX + "example.Outer")
    assert outer is not None
    message = outer.FromString(b"\x0a\x03\x0a\x01x")
    assert str(message.inner.text) == "x"  # type: ignore[attr-defined]
    assert types.version == "v1"
