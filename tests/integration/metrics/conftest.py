"""A whole metrics_svc on free ports, and clients for it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from lanecast.runtime.channels import CHANNEL_OPTIONS
from lanecast.v1 import metrics_pb2_grpc
from metrics_svc.app import MetricsService
from metrics_svc.config import MetricsConfig


class Running:
    """A started service with what it said of itself."""

    def __init__(self, service: MetricsService, facts: dict[str, Any], http: aiohttp.ClientSession) -> None:
        self.service = service
        self.target: str = facts["address"]
        self.url: str = facts["url"].rstrip("/")
        self.http = http
        self.channel = grpc.aio.insecure_channel(self.target, options=CHANNEL_OPTIONS)
        self.metrics = metrics_pb2_grpc.MetricsServiceStub(self.channel)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def start_one(
            page_dir: Path = tmp_path / "not-built", clock_ns: Callable[[], int] = time.time_ns, **options: Any
        ) -> Running:
            config = MetricsConfig(**{"port": 0, "http_port": 0, "data_dir": tmp_path, "drain_seconds": 1.0, **options})
            service = MetricsService(config, clock_ns, page_dir)
            facts = await service.start()
            stack.push_async_callback(service.drain)
            http = await stack.enter_async_context(aiohttp.ClientSession())
            running = Running(service, facts, http)
            stack.push_async_callback(running.channel.close)
            return running

        yield start_one


@pytest.fixture
async def running(start: Any) -> Running:
    return await start()
