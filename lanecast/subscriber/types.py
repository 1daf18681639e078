"""Finds the message class of a payload.

Owns the look-up: classes that are generated into this program first, then classes made from the descriptors that
the service lists. Used by the subscriber and the command line; does no I/O.
"""

from __future__ import annotations

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message

# Imported for their effect: the built-in payload types are in the default pool.
from lanecast.ai.v1 import analytics_pb2, bots_pb2, concierge_pb2, strategy_pb2

BUILT_IN = (analytics_pb2, bots_pb2, concierge_pb2, strategy_pb2)


class TypeResolver:
    """Message classes by the type URL of `google.protobuf.Any`."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Message]] = {}
        self._pool = descriptor_pool.DescriptorPool()
        self.version = ""
        """Version of the service's types that were loaded last."""

    def find(self, type_url: str) -> type[Message] | None:
        """Return the class, or None where the type is known neither to this program nor to the service's list."""
        found = self._classes.get(type_url)
        if found is None:
            found = self._look_up(type_url.rpartition("/")[2])
            if found is not None:
                self._classes[type_url] = found
        return found

    def load(self, version: str, files: FileDescriptorSet) -> None:
        """Take the descriptors of `ListEventTypes`."""
        self.version = version
        self._pool = descriptor_pool.DescriptorPool()
        left = {file.name: file for file in files.file}
        while left:
            self._add(next(iter(left)), left)

    def _add(self, name: str, left: dict[str, FileDescriptorProto]) -> None:
        """Add a file after those it imports."""
        file = left.pop(name, None)
        if file is None:
            return
        for dependency in file.dependency:
            self._add(dependency, left)
        self._pool.Add(file)

    def _look_up(self, name: str) -> type[Message] | None:
        for pool in (descriptor_pool.Default(), self._pool):
            try:
                return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
            except KeyError:
                continue
        return None
