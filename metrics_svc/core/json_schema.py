"""JSON Schemas of protobuf messages in their ProtoJSON form (https://protobuf.dev/programming-guides/json/).

Owns the correspondence of types, so that the OpenAPI document follows from the contracts and cannot disagree with them.
Pure.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

Schema = dict[str, Any]

_STRINGS_OF_DIGITS = {
    FieldDescriptor.CPPTYPE_INT64: "^-?[0-9]{1,19}$",
    FieldDescriptor.CPPTYPE_UINT64: "^[0-9]{1,20}$",
}
_SIMPLE: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
}
_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"},
}


def add(descriptor: Descriptor, schemas: dict[str, Schema], *, complete: bool) -> Schema:
    """Add the schema of a message, and of those in it, to `schemas`; return a reference to it.

    Args:
        descriptor: Of the message.
        schemas: By the names of messages.
        complete: Every field without presence is there, as in answers.
    """
    if descriptor.name not in schemas:
        schema: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
        schemas[descriptor.name] = schema
        for field in descriptor.fields:
            schema["properties"][field.json_name] = _field(field, schemas, complete=complete)
        present = [field.json_name for field in descriptor.fields if not field.has_presence]
        if complete and present:
            schema["required"] = present
    return {"$ref": f"#/components/schemas/{descriptor.name}"}


def _field(field: FieldDescriptor, schemas: dict[str, Schema], *, complete: bool) -> Schema:
    single = _single(field, schemas, complete=complete)
    return {"type": "array", "items": single} if field.is_repeated else single


def _single(field: FieldDescriptor, schemas: dict[str, Schema], *, complete: bool) -> Schema:
    if field.message_type is not None:
        known = _WELL_KNOWN.get(field.message_type.full_name)
        return dict(known) if known else add(field.message_type, schemas, complete=complete)
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        binary = field.type == FieldDescriptor.TYPE_BYTES
        return {"type": "string", "contentEncoding": "base64"} if binary else {"type": "string"}
    digits = _STRINGS_OF_DIGITS.get(field.cpp_type)
    return {"type": "string", "pattern": digits} if digits else dict(_SIMPLE[field.cpp_type])
