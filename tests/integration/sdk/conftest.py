"""Fixtures: publisher_svc in this process, and in one that can be killed."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sdk_services import ServiceProcess, running


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with running(tmp_path / "data") as target:
        yield target


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path / "data")
    service.start()
    yield service
    service.end(signal.SIGTERM)
