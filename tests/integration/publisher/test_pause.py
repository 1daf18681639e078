"""A publisher that did not run for a while stores nothing that came on streams from before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from lanecast.ai.v1.concierge_pb2 import ConciergeInsight
from lanecast.runtime.channels import CHANNEL_OPTIONS
from lanecast.v1 import publisher_pb2 as pb
from lanecast.v1.event_pb2 import PRIORITY_HIGH, Event
from publisher_svc.app import PublisherApp
from publisher_svc.config import PublisherConfig
from publisher_svc.pause import LIMIT_SECONDS, PauseWatch


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[PublisherApp]:
    made = PublisherApp(PublisherConfig(data_dir=tmp_path, port=0, drain_seconds=0.2))
    made.address = (await made.start())["address"]  # type: ignore[attr-defined]
    yield made
    await made.drain()


def stood_still(watch: PauseWatch) -> None:
    """Do to the watch what a pause of the process does."""
    watch._beat_at -= LIMIT_SECONDS + 1


@pytest.mark.parametrize("first", ["message", "heartbeat"])
async def test_what_lay_in_a_stream_during_a_pause_is_not_stored(app: PublisherApp, first: str) -> None:
    watch = app._publish._pause
    async with grpc.aio.insecure_channel(app.address, options=CHANNEL_OPTIONS) as channel:  # type: ignore[attr-defined]
        call: Any = channel.stream_stream("/lanecast.v1.PublisherService/PublishEventStream")()
        await call.write(pb.PublishEventStreamRequest(open=pb.PublishOpen()).SerializeToString())
        await call.read()
        stood_still(watch)
        if first == "heartbeat":
            watch._beat()
            assert not watch.is_overdue
        event = Event(id="old", channel="agent:42", priority=PRIORITY_HIGH)
        event.data.Pack(ConciergeInsight(text="x"))
        message = pb.PublishMessage(first_sequence=1, events=[event])
        await call.write(pb.PublishEventStreamRequest(publish=message).SerializeToString())
        with pytest.raises(grpc.RpcError):
            await call.read()
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
    assert app._log.end_offset == 0
