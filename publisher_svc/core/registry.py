"""The payload types that may be published.

Owns the registry of message types and its version. Built by `app` from the descriptors that come with Lanecast and
those the operator loads; asked by admission for every event, so a look-up is one dictionary access. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message


class RegistryError(ValueError):
    """A descriptor set cannot be loaded."""


class TypeRegistry:
    """Knows the types that may be published, by the type URL of `google.protobuf.Any`."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        self._files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        self._classes: dict[str, type[Message]] = {}
        self._by_url: dict[str, type[Message]] = {}
        self._snapshot: tuple[str, descriptor_pb2.FileDescriptorSet] | None = None

    def add_file(self, file: FileDescriptor) -> None:
        """Register every top-level message of a generated file."""
        self._add_with_imports(file)
        self._register(file.name)

    def load(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        """Register every top-level message of a descriptor set, which must hold all that its files import.

        Such a set is what `buf build -o types.binpb` and `protoc --include_imports --descriptor_set_out` write.

        Raises:
            RegistryError: an import is missing, or a name is taken by another definition.
        """
        for file in files.file:
            known = self._files.get(file.name)
            if known is not None and known != file:
                raise RegistryError(f"{file.name} is registered already with other contents: rename the file")
        for file in files.file:
            self._add_file(file)
        for file in files.file:
            self._register(file.name)

    def find(self, type_url: str) -> type[Message] | None:
        """Return the class of a type URL, for example `type.googleapis.com/lanecast.ai.v1.ConciergeInsight`."""
        found = self._by_url.get(type_url)
        if found is None:
            found = self._classes.get(type_url.rpartition("/")[2])
            if found is not None and len(self._by_url) < 4 * len(self._classes) + 64:
                self._by_url[type_url] = found
        return found

    @property
    def names(self) -> list[str]:
        """Full names of all registered types, sorted."""
        return sorted(self._classes)

    @property
    def version(self) -> str:
        """Changes whenever the registered types change."""
        return self._describe()[0]

    @property
    def descriptors(self) -> descriptor_pb2.FileDescriptorSet:
        """Descriptors of all registered files and what they import."""
        return self._describe()[1]

    def _describe(self) -> tuple[str, descriptor_pb2.FileDescriptorSet]:
        if self._snapshot is None:
            files = descriptor_pb2.FileDescriptorSet(file=self._files.values())
            digest = hashlib.sha256(files.SerializeToString(deterministic=True)).hexdigest()
            self._snapshot = digest[:16], files
        return self._snapshot

    def _add_with_imports(self, file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            self._add_with_imports(dependency)
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        self._add_file(proto)

    def _add_file(self, proto: descriptor_pb2.FileDescriptorProto) -> None:
        if proto.name in self._files:
            return
        try:
            self._pool.Add(proto)
        except TypeError as error:
            raise RegistryError(f"{proto.name} cannot be loaded: {error}; include its imports in the set") from error
        self._files[proto.name] = proto
        self._snapshot = None

    def _register(self, file_name: str) -> None:
        messages: Iterable[str] = self._pool.FindFileByName(file_name).message_types_by_name
        for name in messages:
            descriptor = self._pool.FindFileByName(file_name).message_types_by_name[name]
            self._classes[descriptor.full_name] = message_factory.GetMessageClass(descriptor)
