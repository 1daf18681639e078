"""How the system schedules a process that has a latency budget.

Owns the section `process` of the configuration and what is asked of Linux. Called by `lifecycle` for the services that
carry events; metrics_svc, checkpoints and whatever else runs on the machine stay as they are.

A CRITICAL event has 1 ms for three processes, and an ordinary process that wakes up may wait 3 ms for a core although
others only compute. So publisher and gateway ask for real-time scheduling, at its lowest priority and in turns
(`SCHED_RR`, sched(7)), where they are permitted to: as root, with CAP_SYS_NICE, or within RLIMIT_RTPRIO. They are idle
most of the time, and the kernel leaves ordinary processes 5 % of each core whatever happens (`sched_rt_runtime_us`).
Measured in docs/adr/0019.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lanecast.errors import ConfigError, StartError
from lanecast.runtime.config import load, option

log = logging.getLogger(__name__)

_PRIORITY = 1
_in_real_time = False
_SHARE = Path("/proc/sys/kernel/sched_rt_runtime_us")
_AUTO, _NORMAL, _REALTIME = "auto", "normal", "realtime"


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """What a process that carries events can be told about itself."""

    scheduling: str = option(_AUTO, "How it is scheduled: realtime, normal, or auto: realtime where that is permitted.")

    def __post_init__(self) -> None:
        if self.scheduling not in (_AUTO, _NORMAL, _REALTIME):
            raise ConfigError(f"process.scheduling is {self.scheduling!r}: use auto, normal or realtime")


def be_urgent() -> bool:
    """Schedule this process, all its threads and those to come, as its configuration says; say whether in real time.

    Raises:
        ConfigError: the configuration is wrong.
        StartError: it insists on real-time scheduling, which is not permitted.
    """
    wanted = load(ProcessConfig, "process").scheduling
    if wanted == _NORMAL:
        return False
    global _in_real_time  # noqa: PLW0603 - a property of the process
    obstacle = _obstacle()
    if not obstacle:
        obstacle = _ask()
    _in_real_time = not obstacle
    if not obstacle:
        log.info("scheduled in real time (SCHED_RR %d)", _PRIORITY)
    elif wanted == _REALTIME:
        raise StartError(f"process.scheduling is realtime, but {obstacle}: permit it, or set it to auto")
    else:
        log.info("scheduled like any process, so latency depends on what else runs: %s", obstacle)
    return not obstacle


def give_way() -> None:
    """Let other urgent processes run first that wait for this core. To be called between two pieces of work.

    A process in real time keeps its core for 100 ms where others of its kind wait, which is right only while all of
    them are idle most of the time. Costs 0.3 µs where nobody waits, and nothing in an ordinary process.
    """
    if _in_real_time:
        os.sched_yield()


def be_ordinary() -> None:
    """Undo what this process has inherited from one that is urgent."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _obstacle() -> str:
    """Return why real-time scheduling would be unwise here; empty: it is not."""
    if not hasattr(os, "sched_setscheduler"):
        return "this system has no real-time scheduling"
    if len(os.sched_getaffinity(0)) < 2:
        return "there is only one core, which would be left to nobody else"
    with suppress(OSError, ValueError):
        if int(_SHARE.read_text()) < 0:
            return "kernel.sched_rt_runtime_us is -1, so nothing would be left for other processes"
    return ""


def _ask() -> str:
    """Ask for it; return why it was refused."""
    try:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(_PRIORITY))
    except OSError:
        return "it needs root, the capability SYS_NICE or an rtprio limit (ulimit -r 1)"
    return ""
