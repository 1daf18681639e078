"""What the machine is, what it takes away, and what processes cost on it.

Owns reading /proc and psutil. Linux gives all of it; elsewhere steal time is unknown and said to be so.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

STEAL_LIMIT = 0.03
"""Runs with a higher share of stolen processor time are marked."""
_STEAL_FIELD = 8
_PACKAGES = ("lanecast", "grpcio", "protobuf", "uvloop", "websockets", "apsw", "numpy", "python-socketio")


def facts() -> dict[str, Any]:
    """Return what someone needs to know to judge or repeat a result."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "open_files_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Processor time of the whole machine since boot, in clock ticks."""

    total: int
    stolen: int
    idle: int


def cpu_times() -> CpuTimes | None:
    """Read the machine's processor times; None where the system does not tell."""
    try:
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
    except OSError:
        return None
    return parse_cpu_line(line)


def parse_cpu_line(line: str) -> CpuTimes:
    """Read the first line of /proc/stat (proc(5)): guest time is already counted in user time."""
    values = [int(value) for value in line.split()[1:9]]
    return CpuTimes(sum(values), values[_STEAL_FIELD - 1], values[3])


def shares(before: CpuTimes | None, after: CpuTimes | None) -> dict[str, float | None]:
    """Return the share of stolen and of idle processor time between two readings."""
    if before is None or after is None or after.total <= before.total:
        return {"steal": None, "idle": None}
    total = after.total - before.total
    return {"steal": (after.stolen - before.stolen) / total, "idle": (after.idle - before.idle) / total}


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes have used."""

    cpu_seconds: float
    rss_bytes: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_seconds + other.cpu_seconds, self.rss_bytes + other.rss_bytes)


NO_USAGE = Usage(0.0, 0)


def usage_of(pid: int) -> Usage:
    """Return processor time and resident memory of one process, without its children; nothing where it is gone."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return Usage(times.user + times.system, process.memory_info().rss)
    except psutil.NoSuchProcess:
        return NO_USAGE


def family(pids: Mapping[str, int]) -> dict[str, int]:
    """Return processes with their present children, which get the parent's name and a number."""
    found: dict[int, str] = {pid: name for name, pid in pids.items()}
    for name, pid in pids.items():
        try:
            children = psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            continue
        for number, child in enumerate(children, 1):
            found.setdefault(child.pid, f"{name}/{number}")
    return {name: pid for pid, name in found.items()}


def raise_open_files_limit() -> int:
    """Allow this process and its children as many open files as the system permits; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
