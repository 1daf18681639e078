"""A client without any of our code: it learns the contract by reflection, as grpcurl does, and publishes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig

SERVICE = "lanecast.v1.PublisherService"


async def learn(channel: grpc.aio.Channel, symbol: str) -> descriptor_pool.DescriptorPool:
    """Build a descriptor pool of everything that a symbol needs, from server reflection alone."""
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()

    async def ask(**question: Any) -> list[descriptor_pb2.FileDescriptorProto]:
        await call.write(reflection_pb2.ServerReflectionRequest(**question))
        answer = (await call.read()).file_descriptor_response.file_descriptor_proto
        return [descriptor_pb2.FileDescriptorProto.FromString(data) for data in answer]

    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    wanted = await ask(file_containing_symbol=symbol)
    while wanted:
        file = wanted.pop()
        if file.name not in files:
            files[file.name] = file
            for dependency in file.dependency:
                wanted += await ask(file_by_filename=dependency)
    call.cancel()
    pool = descriptor_pool.DescriptorPool()

    def add(name: str) -> None:
        file = files.pop(name, None)
        if file is not None:
            for dependency in file.dependency:
                add(dependency)
            pool.Add(file)

    while files:
        add(next(iter(files)))
    return pool


async def test_what_a_reflecting_client_publishes_is_printed_by_tail(tmp_path: Path) -> None:
    app = PublisherApp(PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.1))
    address = str((await app.start())["address"])
    tail = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lanecast.cli", "tail", "agent:42", "--last", "1", "--count", "1", "--json",
        "--target", address, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with grpc.aio.insecure_channel(address) as channel:
        pool = await learn(channel, SERVICE)
        method = pool.FindServiceByName(SERVICE).methods_by_name["PublishEvents"]
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)
        text = "\n\x07from me"  # field 1, seven characters: a ConciergeInsight's text, written by hand
        payload = any_pb2.Any(type_url="type.googleapis.com/lanecast.ai.v1.ConciergeInsight", value=text.encode())
        request = json_format.ParseDict(
            {"events": [{"id": "foreign-1", "channel": "agent:42", "priority": "PRIORITY_CRITICAL"}]}, request_class()
        )
        request.events[0].data.MergeFromString(payload.SerializeToString())
        call = channel.unary_unary(
            f"/{SERVICE}/PublishEvents",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_class.FromString,
        )
        response = await call(request)
        assert response.results[0].offset == 1
    output, _ = await tail.communicate()
    printed = json.loads(output)
    assert (printed["id"], printed["data"]["text"]) == ("foreign-1", "from me")
    await app.drain()
