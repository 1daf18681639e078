"""What bad input to the publisher gets, line by line, and that a failing disk acknowledges nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.core import exit_codes
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import Event
from lanecast.v1.publisher_pb2_grpc import PublisherServiceStub
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig


@pytest.fixture(params=["asyncio", "grpcio"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever carries gRPC: the answers are the same."""
    monkeypatch.setenv("LANECAST_GRPC_ENGINE", request.param)


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    app = PublisherApp(PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.1))
    facts = await app.start()
    async with grpc.aio.insecure_channel(facts["address"]) as opened:
        yield opened
    await app.drain()


def event(**changes: object) -> Event:
    made = Event(channel="agent:42", priority=1)
    made.data.Pack(ConciergeInsight(text="x"))
    for name, value in changes.items():
        if name in {"type_url", "value"}:
            setattr(made.data, name, value)
        else:
            setattr(made, name, value)
    return made


BAD_EVENTS = {
    "no channel": (event(channel=""), 3, "CHANNEL_INVALID"),
    "long channel": (event(channel="x" * 256), 3, "CHANNEL_INVALID"),
    "long channel in bytes": (event(channel="é" * 128), 3, "CHANNEL_INVALID"),
    "control character": (event(channel="a\nb"), 3, "CHANNEL_INVALID"),
    "NUL": (event(channel="a\0"), 3, "CHANNEL_INVALID"),
    "star": (event(channel="agent:*"), 3, "CHANNEL_INVALID"),
    "greater": (event(channel="agent:>"), 3, "CHANNEL_INVALID"),
    "no lane": (event(priority=0), 3, "LANE_UNKNOWN"),
    "unknown lane": (event(priority=9), 3, "LANE_UNKNOWN"),
    "unknown type": (event(type_url="type.googleapis.com/some.Thing"), 3, "TYPE_UNKNOWN"),
    "unparsable": (event(value=b"\xff\xff"), 3, "PAYLOAD_UNPARSABLE"),
    "large payload": (event(value=bytes(65_537)), 3, "PAYLOAD_TOO_LARGE"),
    "long id": (event(id="x" * 65), 3, "ID_TOO_LONG"),
    "trace context": (event(trace_context=b"x"), 3, "TRACE_CONTEXT_INVALID"),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
async def test_a_bad_event_gets_its_reason_and_its_neighbours_go_through(channel: grpc.aio.Channel, name: str) -> None:
    bad, code, reason = BAD_EVENTS[name]
    request = pb.PublishEventsRequest(events=[event(), bad, event()])
    results = (await PublisherServiceStub(channel).PublishEvents(request)).results  # type: ignore[misc]
    assert [result.offset for result in results] == [1, 0, 2]
    assert (results[1].error.code, results[1].error.reason) == (code, reason)
    assert "Traceback" not in results[1].error.message


METHODS = ["PublishEvents", "ReadEvents", "ListEventTypes", "PublishEventStream", "StreamEvents"]
WHOLE = pb.PublishEventsRequest(events=[event()]).SerializeToString()


@pytest.mark.parametrize("data", [b"\xff\xff garbage", b"\x0a\xff\x01x", WHOLE[:-3]], ids=["garbage", "length", "cut"])
@pytest.mark.parametrize("method", METHODS)
async def test_what_is_no_message_is_an_invalid_argument(channel: grpc.aio.Channel, method: str, data: bytes) -> None:
    path = f"/lanecast.v1.PublisherService/{method}"
    if "Stream" in method:
        call = channel.stream_stream(path)()
        await call.write(data)
        answer = call.read()
    else:
        answer = channel.unary_unary(path)(data)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in (caught.value.details() or "")


async def test_too_many_events_are_refused_as_a_whole(channel: grpc.aio.Channel) -> None:
    request = pb.PublishEventsRequest(events=[event()] * 1_001)
    with pytest.raises(grpc.aio.AioRpcError, match="1 to 1000") as caught:
        await PublisherServiceStub(channel).PublishEvents(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_thousand_calls_that_are_reset_at_once_leave_it_serving(channel: grpc.aio.Channel) -> None:
    stub = PublisherServiceStub(channel)
    for _ in range(1_000):
        stub.StreamEvents().cancel()
    results = (await stub.PublishEvents(pb.PublishEventsRequest(events=[event()]))).results  # type: ignore[misc]
    assert results[0].offset == 1


FAILING_DISK = """
import os, sys
from pathlib import Path
from lanecast.runtime import lifecycle
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig

flush, gate = os.fdatasync, Path(sys.argv[2])

def fdatasync(descriptor):
    if gate.exists():
        raise OSError(5, "Input/output error")
    flush(descriptor)

os.fdatasync = fdatasync
config = PublisherConfig(data_dir=Path(sys.argv[1]), port=0, durability="disk", drain_seconds=0.1)
sys.exit(lifecycle.run("publisher", lambda: PublisherApp(config)))
"""


async def test_a_flush_that_fails_ends_the_process_and_acknowledges_nothing(tmp_path: Path) -> None:
    gate = tmp_path / "fail"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FAILING_DISK, str(tmp_path / "data"), str(gate),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    facts = json.loads(await process.stdout.readline())
    async with grpc.aio.insecure_channel(facts["address"]) as channel:
        stub = PublisherServiceStub(channel)
        results = (await stub.PublishEvents(pb.PublishEventsRequest(events=[event(id="stored")]))).results  # type: ignore[misc]
        assert results[0].offset == 1
        gate.touch()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.PublishEvents(pb.PublishEventsRequest(events=[event(id="lost")]))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    _, errors = await process.communicate()
    assert process.returncode == exit_codes.FAILED
    assert b"cannot make" in errors
    gate.unlink()
    app = PublisherApp(PublisherConfig(data_dir=tmp_path / "data", port=0, durability="disk", drain_seconds=0.1))
    again = await app.start()
    assert again["epoch"] != facts["epoch"], "what was delivered since the last good flush may be gone"
    await app.drain()
