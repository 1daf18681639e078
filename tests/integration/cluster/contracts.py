"""The contracts of a neighbouring version: the present ones with their newest fields taken out, or with new ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto

from lanecast.v1 import event_pb2, gateway_pb2, publisher_pb2

FUTURE_FIELD, FUTURE_KIND, FUTURE_VALUE = 1000, 1001, 99

NEWEST = {"PublishOpened": {"log_id"}, "StreamOpened": {"log_id"}}
"""Fields that came with the present version."""

_FILES = (any_pb2, descriptor_pb2, event_pb2, publisher_pb2, gateway_pb2)


def previous() -> Any:
    """Return the messages of the version before, by name."""
    return _build(_without_newest, lambda _: None)


def following() -> Any:
    """Return the messages of a version to come: each has one more field, each choice and enum one more value."""
    return _build(_with_more, _with_another_value)


def _build(change: Any, change_enum: Any) -> Any:
    pool, names = descriptor_pool.DescriptorPool(), []
    for module in _FILES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        if file.package == "lanecast.v1":
            for enum in file.enum_type:
                change_enum(enum)
            for message in file.message_type:
                change(message)
                names.append(message.name)
        pool.Add(file)
    made: dict[str, Any] = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"lanecast.v1.{name}")) for name in names
    }
    return SimpleNamespace(pool=pool, **made)  # the messages do not keep their pool


def _without_newest(message: DescriptorProto) -> None:
    kept = [field for field in message.field if field.name not in NEWEST.get(message.name, ())]
    del message.field[:]
    message.field.extend(kept)


def _with_more(message: DescriptorProto) -> None:
    one = FieldDescriptorProto.LABEL_OPTIONAL
    text = FieldDescriptorProto.TYPE_STRING
    message.field.add(name="from_the_future", number=FUTURE_FIELD, label=one, type=text)
    real = [
        index
        for index in range(len(message.oneof_decl))
        if not any(field.proto3_optional and field.oneof_index == index for field in message.field)
    ]
    if real:
        message.field.add(name="future_kind", number=FUTURE_KIND, label=one, type=text, oneof_index=real[0])


def _with_another_value(enum: EnumDescriptorProto) -> None:
    prefix = enum.value[0].name.removesuffix("UNSPECIFIED")
    enum.value.add(name=f"{prefix}FUTURE", number=FUTURE_VALUE)
