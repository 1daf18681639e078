"""Payload types as the publisher describes them, and JSON payloads made into messages of these types.

Owns the wording of what is wrong with a payload. Called by `lanecast publish`, `tail` and `types`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_database import DescriptorDatabase
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from lanecast.cli.core.problems import InputError

TYPE_URL_PREFIX = "type.googleapis.com/"
_SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: "double", FieldDescriptor.TYPE_FLOAT: "float", FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64", FieldDescriptor.TYPE_INT32: "int32", FieldDescriptor.TYPE_FIXED64: "fixed64",
    FieldDescriptor.TYPE_FIXED32: "fixed32", FieldDescriptor.TYPE_BOOL: "bool", FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes", FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_SFIXED32: "sfixed32", FieldDescriptor.TYPE_SFIXED64: "sfixed64",
    FieldDescriptor.TYPE_SINT32: "sint32", FieldDescriptor.TYPE_SINT64: "sint64",
}  # fmt: skip


class PayloadTypes:
    """The types that may be published, in a descriptor pool of their own."""

    def __init__(self, names: Sequence[str], descriptors: FileDescriptorSet) -> None:
        self.names = tuple(names)
        """Full names, sorted as the publisher gave them."""
        database = DescriptorDatabase()
        for file in descriptors.file:
            database.Add(file)
        self._pool = DescriptorPool(database)
        self._classes: dict[str, type[Message]] = {}

    def descriptor(self, name: str) -> Descriptor:
        """Return the descriptor of a type.

        Raises:
            InputError: there is no such type; names those that come close.
        """
        return cast("Descriptor", self._class(name).DESCRIPTOR)

    def parse(self, name: str, data: Any) -> Message:
        """Return the message of type `name` that the JSON value `data` stands for.

        Raises:
            InputError: there is no such type, or the data does not fit it; says what to do.
        """
        message_class = self._class(name)
        _check_fields(self.descriptor(name), data)
        try:
            return json_format.ParseDict(data, message_class(), descriptor_pool=self._pool)
        except json_format.ParseError as error:
            raise InputError(f"data does not fit {name}: {_one_line(error)}") from error

    def to_json(self, data: AnyMessage) -> dict[str, Any] | None:
        """Return the fields of a packed payload with JSON names; None where the type is not known or does not parse."""
        name = data.type_url.rpartition("/")[2]
        if name not in self.names:
            return None
        try:
            message = self._class(name).FromString(data.value)
        except DecodeError:
            return None
        return to_json(message, self._pool)

    def _class(self, name: str) -> type[Message]:
        name = name.removeprefix(TYPE_URL_PREFIX)
        if name not in self._classes:
            if name not in self.names:
                raise InputError(unknown_type(name, self.names))
            self._classes[name] = GetMessageClass(self._pool.FindMessageTypeByName(name))
        return self._classes[name]


def to_json(message: Message, pool: DescriptorPool | None = None) -> dict[str, Any]:
    """Return the fields of a message with their JSON names."""
    fields: dict[str, Any] = json_format.MessageToDict(message, descriptor_pool=pool)
    return fields


def unknown_type(name: str, names: Sequence[str]) -> str:
    """Return the sentence about a type that does not exist."""
    by_end = {full.rpartition(".")[2].lower(): full for full in names}
    close = difflib.get_close_matches(name.rpartition(".")[2].lower(), by_end, n=1)
    hint = f"did you mean {by_end[close[0]]}?" if close else "use one of those that `lanecast types` lists"
    return f"unknown type {name!r}: {hint}"


def describe_fields(descriptor: Descriptor) -> list[dict[str, Any]]:
    """Return name, JSON name and kind of each field of a type; for enums also the values."""
    return [_describe_field(field) for field in descriptor.fields]


def example_data(descriptor: Descriptor) -> dict[str, Any]:
    """Return a small payload of the type that can be published as it is: its first few fields."""
    return {field.json_name: _example(field) for field in descriptor.fields[:3] if not _is_repeated(field)}


def _describe_field(field: FieldDescriptor) -> dict[str, Any]:
    result: dict[str, Any] = {"name": field.name, "json_name": field.json_name, "type": _kind(field)}
    if field.enum_type is not None:
        result["values"] = [value.name for value in field.enum_type.values]
    return result


def _kind(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return f"map<{_kind(key)}, {_kind(value)}>"
    if field.message_type is not None:
        kind = field.message_type.full_name
    elif field.enum_type is not None:
        kind = field.enum_type.full_name
    else:
        kind = _SCALARS[field.type]
    return f"repeated {kind}" if _is_repeated(field) else kind


def _is_repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _example(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].name
    if field.message_type is not None:
        return None
    return {"string": "text", "bytes": "", "bool": True}.get(_kind(field), 1)


def _check_fields(descriptor: Descriptor, data: Any) -> None:
    """Name an unknown field before the parser does, which would do so over several lines."""
    if not isinstance(data, dict):
        raise InputError(f"data must be a JSON object with the fields of {descriptor.full_name}")
    known = {name for field in descriptor.fields for name in (field.name, field.json_name)}
    for name in data:
        if name not in known:
            fields = ", ".join(field.json_name for field in descriptor.fields)
            raise InputError(f"{descriptor.full_name} has no field {name!r}: use {fields}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
