"""The payload types of the publisher, and JSON made with them.

Owns the descriptor pool that is built from `ListEventTypes`. Only JSON clients need it; a batch is encoded once for all
of them. A type that is not known, or a payload that does not parse, goes out as base64 with its type name.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import Error as JsonError
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from gateway_svc.core.frames import compact
from lanecast.v1.event_pb2 import Event, EventBatch

_WELL_KNOWN = "google.protobuf."
"""Types of this package have a JSON form of their own, which stands under `value` inside an Any."""


class TypeBook:
    """Known payload types; the same object lives on when the types change."""

    def __init__(self) -> None:
        self.version = ""
        self._pool = DescriptorPool()
        self._classes: dict[str, type[Message] | None] = {}
        self._names: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"TypeBook(version={self.version!r}, types={len(self._names)})"

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def update(self, version: str, names: list[str], descriptors: FileDescriptorSet) -> None:
        """Take over another version of the types.

        Raises:
            TypeError: the descriptors do not fit together.
        """
        pool = DescriptorPool()
        waiting = {file.name: file for file in descriptors.file}
        while waiting:
            ready = [file for file in waiting.values() if not any(name in waiting for name in file.dependency)]
            if not ready:
                raise TypeError(f"descriptors import one another in a circle: {', '.join(sorted(waiting))}")
            for file in ready:
                pool.AddSerializedFile(file.SerializeToString())
                del waiting[file.name]
        self.version, self._pool, self._classes = version, pool, {}
        self._names = frozenset(names)

    def encode_batch(self, batch: EventBatch) -> bytes:
        """Return the ProtoJSON of `ServerFrame{events: batch}`."""
        events = [self._event(event) for event in batch.events]
        envelope = EventBatch()
        envelope.CopyFrom(batch)
        del envelope.events[:]
        fields = MessageToDict(envelope)
        fields["events"] = events
        return compact({"events": fields})

    def _event(self, event: Event) -> dict[str, Any]:
        payload = event.data
        fields: dict[str, Any] = MessageToDict(_without_data(event))
        fields["data"] = {"@type": payload.type_url, **self._payload(payload.type_url, payload.value)}
        return fields

    def _payload(self, type_url: str, value: bytes) -> dict[str, Any]:
        name = type_url.rpartition("/")[2]
        message_class = self._class_of(name)
        if message_class is not None:
            try:
                shown = MessageToDict(message_class.FromString(value), descriptor_pool=self._pool)
            except (DecodeError, JsonError, TypeError):
                # An Any inside it of a type that is not known, or bytes that are not of this type.
                return _unreadable(value)
            if isinstance(shown, dict) and not name.startswith(_WELL_KNOWN):
                return shown
            return {"value": shown}
        return _unreadable(value)

    def _class_of(self, name: str) -> type[Message] | None:
        if name not in self._names:
            return None
        if name not in self._classes:
            try:
                self._classes[name] = GetMessageClass(self._pool.FindMessageTypeByName(name))
            except KeyError:
                self._classes[name] = None
        return self._classes[name]


def _unreadable(value: bytes) -> dict[str, str]:
    return {"value": base64.b64encode(value).decode()}


def _without_data(event: Event) -> Event:
    envelope = Event()
    envelope.CopyFrom(event)
    envelope.ClearField("data")
    return envelope
