"""`python -m metrics_svc` as the supervisor sees it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp

from lanecast.core import exit_codes


async def spawn(data_dir: Path, **variables: str) -> asyncio.subprocess.Process:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LANECAST_")},
        "LANECAST_METRICS_PORT": "0",
        "LANECAST_METRICS_HTTP_PORT": "0",
        "LANECAST_DATA_DIR": str(data_dir),
        **variables,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "metrics_svc", env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def ready(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    facts: dict[str, Any] = json.loads(await process.stdout.readline())
    return facts


async def test_it_says_where_it_listens_and_drains_on_sigterm_with_a_stream_open(tmp_path: Path) -> None:
    process = await spawn(tmp_path)
    facts = await ready(process)
    assert (facts["ready"], facts["pid"]) == ("metrics", process.pid)
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{facts['url']}api/v1/websocket-performance/stream?interval=60s") as response,
    ):
        assert await response.content.readline() == b"retry: 2000\n"
        process.terminate()
        rest = await response.content.read()
        assert rest.endswith(b"event: drain\ndata: {}\n\n")
    assert await process.wait() == exit_codes.OK
    _, errors = await process.communicate()
    assert b"Traceback" not in errors


async def refused(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    output, errors = await process.communicate()
    assert output == b""
    return process.returncode, errors.decode()


async def test_a_port_in_use_is_one_sentence_and_exit_code_4(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name in ("LANECAST_METRICS_PORT", "LANECAST_METRICS_HTTP_PORT"):
            code, errors = await refused(await spawn(tmp_path, **{name: port}))
            assert code == exit_codes.CANNOT_START
            assert f"cannot listen on 127.0.0.1:{port}" in errors
            assert "Traceback" not in errors


async def test_a_data_directory_that_cannot_be_used_is_exit_code_4(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, errors = await refused(await spawn(tmp_path / "file"))
    assert code == exit_codes.CANNOT_START
    assert "choose a data directory" in errors


async def test_a_wrong_option_is_exit_code_2(tmp_path: Path) -> None:
    code, errors = await refused(await spawn(tmp_path, LANECAST_METRICS_GATEWAY_URLS="http://x"))
    assert code == exit_codes.USAGE
    assert "write it as ws://" in errors
