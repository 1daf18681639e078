"""The supervisor's shell with real child processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lanecast.cli.core.plan import Launch
from lanecast.cli.core.supervisor import ChildSpec, SupervisorPolicy
from lanecast.cli.supervise.loop import SupervisorLoop
from lanecast.core import exit_codes
from lanecast.core.backoff import BackoffPolicy
from lanecast.errors import StartError

POLICY = SupervisorPolicy(start_seconds=30.0, stop_seconds=30.0, backoff=BackoffPolicy(first=0.01, maximum=0.05))

SERVICE = """
import json, os, signal, sys
stop = lambda *_: sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("starting", file=sys.stderr, flush=True)
print(json.dumps({"ready": "x", "address": "127.0.0.1:1", "pid": os.getpid()}), flush=True)
sys.stdin.read()
"""
STUBBORN = SERVICE.replace("stop = lambda *_: sys.exit(0)", "stop = signal.SIG_IGN")


class Recorder:
    """A reporter that remembers, and lets a test wait for what is to come."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.lines: list[tuple[str, str]] = []
        self.pids: dict[str, int] = {}
        self._changed = asyncio.Event()

    def line(self, name: str, text: str) -> None:
        self.lines.append((name, text))
        self._changed.set()

    def ready(self, launch: Launch, pid: int, facts: dict[str, Any]) -> None:
        assert facts["pid"] == pid
        self.pids[launch.spec.name] = pid
        self._note("ready", launch.spec.name)

    def all_ready(self, ready: Sequence[tuple[Launch, int, dict[str, Any]]]) -> None:
        self._note("all_ready", len(ready))

    def died(self, name: str, code: int, delay_seconds: float) -> None:
        self._note("died", name, code)

    def gave_up(self, name: str, code: int) -> None:
        self._note("gave_up", name, code)

    def killed(self, name: str, reason: str) -> None:
        self._note("killed", name)

    def rolling(self) -> None:
        self._note("rolling")

    def rolled(self, failed: str) -> None:
        self._note("rolled", failed)

    def stopping(self) -> None:
        self._note("stopping")

    def _note(self, *event: Any) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, *event: Any, times: int = 1) -> None:
        while self.events.count(event) < times:
            self._changed.clear()
            await self._changed.wait()


def launch(name: str, script: str, *, stop_stage: int = 0, **environ: str) -> Launch:
    return Launch(ChildSpec(name, stop_stage=stop_stage), "service", ("-c", script), environ)


async def test_starts_reports_and_stops_in_order() -> None:
    recorder = Recorder()
    loop = SupervisorLoop([launch("a", SERVICE, stop_stage=2), launch("b", SERVICE, stop_stage=1)], recorder, POLICY)
    running = asyncio.create_task(loop.run())
    await recorder.until("all_ready", 2)

    loop.stop()

    assert await running == exit_codes.OK
    assert recorder.events[-1] == ("stopping",)
    assert sorted(recorder.lines) == [("a", "starting"), ("b", "starting")]
    for pid in recorder.pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals_stop_it(number: signal.Signals) -> None:
    recorder = Recorder()
    running = asyncio.create_task(SupervisorLoop([launch("a", SERVICE)], recorder, POLICY).run())
    await recorder.until("all_ready", 1)

    os.kill(os.getpid(), number)

    assert await running == exit_codes.OK


async def test_restarts_what_was_killed() -> None:
    recorder = Recorder()
    loop = SupervisorLoop([launch("a", SERVICE), launch("b", SERVICE)], recorder, POLICY)
    running = asyncio.create_task(loop.run())
    await recorder.until("all_ready", 2)
    first = recorder.pids["a"]

    os.kill(first, signal.SIGKILL)
    await recorder.until("all_ready", 2, times=2)

    assert ("died", "a", -9) in recorder.events
    assert recorder.pids["a"] != first
    loop.stop()
    assert await running == exit_codes.OK


async def test_a_signal_restarts_the_services_one_at_a_time() -> None:
    recorder = Recorder()
    loop = SupervisorLoop([launch("a", SERVICE), launch("b", SERVICE)], recorder, POLICY)
    running = asyncio.create_task(loop.run())
    await recorder.until("all_ready", 2)
    before, started = dict(recorder.pids), len(recorder.events)

    os.kill(os.getpid(), signal.SIGUSR1)
    await recorder.until("rolled", "")

    assert all(recorder.pids[name] != before[name] for name in "ab")
    assert recorder.events[started:] == [
        ("rolling",), ("ready", "a"), ("all_ready", 2), ("ready", "b"), ("all_ready", 2), ("rolled", "")
    ]  # fmt: skip
    loop.stop()
    assert await running == exit_codes.OK


async def test_a_child_that_refuses_to_start_ends_everything_with_its_code() -> None:
    recorder = Recorder()
    refusal = "import sys; print('a: no such option', file=sys.stderr); sys.exit(2)"
    loop = SupervisorLoop([launch("good", SERVICE), launch("bad", refusal)], recorder, POLICY)

    assert await loop.run() == exit_codes.USAGE

    assert ("gave_up", "bad", 2) in recorder.events
    assert ("bad", "a: no such option") in recorder.lines


async def test_the_second_stop_kills() -> None:
    recorder = Recorder()
    loop = SupervisorLoop([launch("a", STUBBORN)], recorder, POLICY)
    running = asyncio.create_task(loop.run())
    await recorder.until("all_ready", 1)

    loop.stop()
    loop.stop()

    assert await running == exit_codes.INTERRUPTED
    assert ("killed", "a") in recorder.events


async def test_a_stop_while_the_processes_are_being_started_reaches_them() -> None:
    recorder = Recorder()
    loop = SupervisorLoop([launch("a", "import time; time.sleep(600)")], recorder, POLICY)
    running = asyncio.create_task(loop.run())
    await asyncio.sleep(0)  # one turn: `run` has asked for the process, and there is none yet

    loop.stop()

    assert await running == exit_codes.OK


async def test_a_report_that_fails_stops_everything_and_is_raised() -> None:
    class Broken(Recorder):
        def all_ready(self, ready: Sequence[tuple[Launch, int, dict[str, Any]]]) -> None:
            super().all_ready(ready)
            raise StartError("cannot write the ready file")

    recorder = Broken()
    with pytest.raises(StartError, match="ready file"):
        await SupervisorLoop([launch("a", SERVICE)], recorder, POLICY).run()
    assert ("stopping",) in recorder.events


async def test_lines_without_end_and_beyond_any_length_are_passed_on_in_bounds() -> None:
    recorder = Recorder()
    script = "import sys; sys.stderr.write('x' * 200_000 + '\\nlast'); sys.exit(4)"

    await SupervisorLoop([launch("a", script)], recorder, POLICY).run()

    assert [len(text) for _, text in recorder.lines] == [64 * 1024, 4]


async def test_the_environment_is_handed_on_and_standard_input_ends_with_the_supervisor(tmp_path: Path) -> None:
    script = """
import json, os, sys
print(json.dumps({"ready": "x", "pid": os.getpid(), "address": os.environ["LANECAST_DATA_DIR"]}), flush=True)
sys.stdin.read()
open(os.environ["LANECAST_DATA_DIR"] + "/ended", "w").close()
"""
    recorder = Recorder()
    loop = SupervisorLoop([launch("a", script, LANECAST_DATA_DIR=str(tmp_path))], recorder, POLICY)
    running = asyncio.create_task(loop.run())
    await recorder.until("all_ready", 1)

    # What the kernel does when the supervisor is gone: it closes the writing end of the pipe.
    (child,) = loop._running.values()
    assert child._process is not None
    assert child._process.stdin is not None
    child._process.stdin.close()

    await recorder.until("died", "a", 0)
    assert (tmp_path / "ended").exists()
    loop.stop()
    await running
