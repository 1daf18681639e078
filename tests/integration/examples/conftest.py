"""A real publisher service for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from example_processes import PublisherProcess


@pytest.fixture
async def publisher(tmp_path: Path) -> AsyncIterator[PublisherProcess]:
    process = PublisherProcess(tmp_path / "data")
    await process.start()
    yield process
    await process.end()
