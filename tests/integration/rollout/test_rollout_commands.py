"""`lanecast rollout …` against a real metrics_svc."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pty
import sys
from pathlib import Path
from typing import Any

import pytest
from rollout_agent import metrics_with_agent, started

from bench import rollout_system as harness
from lanecast.core import exit_codes
from lanecast.v1 import rollout_pb2 as pb

PLAN = ("--from", "default", "--to", "legacy-500ms", "--preset", "demo")


class Lanecast:
    """Runs the command line against one service."""

    def __init__(self, target: str, folder: Path) -> None:
        self._environ = {key: value for key, value in os.environ.items() if not key.startswith("LANECAST_")}
        self._environ |= {"LANECAST_METRICS_TARGET": target, "COLUMNS": "200", "NO_COLOR": "1"}
        self._folder = folder

    async def start(self, *arguments: str, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "lanecast.cli", "rollout", *arguments)
        return await asyncio.create_subprocess_exec(
            *command, env=self._environ, cwd=self._folder, stdout=stdout, stderr=asyncio.subprocess.PIPE
        )

    async def __call__(self, *arguments: str, code: int = exit_codes.OK) -> str:
        process = await self.start(*arguments)
        out, err = await process.communicate()
        assert process.returncode == code, (arguments, out, err)
        return (out + err).decode()

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self(*arguments, "--json"))


def _read_all(terminal: int, shown: list[str]) -> None:
    """Read all that is written to a terminal until nobody has it open any more."""
    with open(terminal, "rb", buffering=0) as file:
        try:
            while data := file.read(65_536):
                shown.append(data.decode(errors="replace"))
        except OSError as error:
            if error.errno != errno.EIO:
                raise


@pytest.mark.timeout(120)
async def test_every_verb_and_view_of_a_rollout(tmp_path: Path) -> None:
    async with metrics_with_agent(tmp_path) as (system, operator, _agent):
        lanecast = Lanecast(system.address("metrics"), tmp_path)
        draft = await lanecast.json("create", *PLAN, "--reason", "to be seen", "--request-id", "one")
        assert (draft["state"], draft["reason"]) == ("ROLLOUT_STATE_DRAFT", "to be seen")
        assert (await lanecast.json("create", *PLAN, "--request-id", "one"))["id"] == draft["id"]
        await started(operator, draft["id"])
        for verb, state in (("pause", "HELD"), ("resume", "STARTING"), ("cancel", "CANCELLED"), ("retry", "STARTING")):
            answer = await lanecast.json(verb, draft["id"], "--reason", f"trying {verb}")
            assert (answer["state"], answer["reason"]) == (f"ROLLOUT_STATE_{state}", f"trying {verb}")
        told = await lanecast("rollback", code=exit_codes.FAILED)
        assert "a rollout that is STARTING cannot rollback: legal now are pause, cancel" in told
        told = await lanecast("pause", "--version", "1", code=exit_codes.FAILED)
        assert "the rollout has changed since you saw it (version 1, now" in told

        assert "STARTING, 0 % of channels" in await lanecast("status")
        assert f"{draft['id']}  STARTING" in await lanecast("list")
        history = (await lanecast("history")).splitlines()
        assert "to be seen" in history[0]
        assert [line.split()[2] for line in history if " verb " in line] == [
            "start",
            "pause",
            "resume",
            "cancel",
            "retry",
        ]
        assert "trying retry" in await lanecast("report")
        assert "problem: no lane has the channels" in await lanecast("validate", *PLAN, code=exit_codes.FAILED)
        assert "becomes" in await lanecast("policy", "compare", "default", "legacy-500ms")


@pytest.mark.timeout(120)
async def test_run_shows_a_live_view_until_the_rollout_is_over(tmp_path: Path) -> None:
    async with metrics_with_agent(tmp_path) as (system, operator, agent):
        lanecast = Lanecast(system.address("metrics"), tmp_path)
        name = await operator.create(harness.plan("default", "legacy-500ms", (100,)))
        await started(operator, name)
        await agent.heard.wait()
        agent.heard.clear()
        await operator.ask("cancel", name)

        controller, terminal = pty.openpty()
        parts: list[str] = []
        reading = asyncio.create_task(asyncio.to_thread(_read_all, controller, parts))
        process = await lanecast.start("run", *PLAN, stdout=terminal)
        os.close(terminal)
        while "STARTING, 0 % of channels" not in "".join(parts):
            await asyncio.sleep(0.02)
        answer = await operator.call("ListRollouts", pb.ListRolloutsRequest(page_size=1))
        await operator.ask("cancel", answer.rollouts[0].id, reason="seen enough")
        assert await process.wait() == exit_codes.FAILED
        await reading
    shown = "".join(parts)
    assert "default -> legacy-500ms" in shown
    assert "seen enough" in shown
