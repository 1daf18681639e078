"""How a process asks to be scheduled. The system's own answer is used; only refusals are made up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanecast.errors import ConfigError, StartError
from lanecast.runtime import scheduling

_REPORT = """
import os, threading
from lanecast.runtime.scheduling import be_ordinary, be_urgent, give_way
event = threading.Event()
threading.Thread(target=event.wait, daemon=True).start()
urgent = be_urgent()
threading.Thread(target=event.wait, daemon=True).start()
policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
give_way()
be_ordinary()
print(urgent, policies == {os.SCHED_RR}, policies == {os.SCHED_OTHER}, os.sched_getscheduler(0) == os.SCHED_OTHER)
"""


def report(scheduling: str) -> str:
    environment = {**os.environ, "LANECAST_PROCESS_SCHEDULING": scheduling}
    command = [sys.executable, "-c", _REPORT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_auto_gives_every_thread_the_same_policy_and_says_which() -> None:
    assert report("auto") in ("True True False True", "False False True True")


def test_normal_asks_for_nothing() -> None:
    assert report("normal") == "False False True True"


def refuse(*_arguments: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_refusal_is_told_and_ends_only_who_insists(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduling, "_obstacle", lambda: "")
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setenv("LANECAST_PROCESS_SCHEDULING", "auto")
    with caplog.at_level("INFO"):
        assert not scheduling.be_urgent()
    assert "SYS_NICE" in caplog.text
    monkeypatch.setenv("LANECAST_PROCESS_SCHEDULING", "realtime")
    with pytest.raises(StartError, match="ulimit -r"):
        scheduling.be_urgent()


def test_it_is_not_asked_for_where_it_would_lock_everyone_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    share = tmp_path / "sched_rt_runtime_us"
    monkeypatch.setattr(scheduling, "_SHARE", share)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    share.write_text("950000\n")
    assert scheduling._obstacle() == ""
    share.write_text("-1\n")
    assert "sched_rt_runtime_us" in scheduling._obstacle()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0})
    assert "one core" in scheduling._obstacle()


def test_an_unknown_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANECAST_PROCESS_SCHEDULING", "fast")
    with pytest.raises(ConfigError, match="auto, normal or realtime"):
        scheduling.be_urgent()
