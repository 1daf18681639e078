"""What the machine must allow for some of the faults, and how they are done to a process from outside.

Owns mounts and tracers it makes, and takes them away. Called by scenarios. Nothing here is needed by the short run.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_TRACER_SECONDS = 10.0
_mounted: set[Path] = set()


def no_strace() -> str | None:
    """Say why calls of the system cannot be made to fail here."""
    if shutil.which("strace") is None:
        return "strace is not installed: install it (on Debian, `apt-get install strace`) to have system calls fail"
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.geteuid() and scope.exists() and scope.read_text().strip() != "0":
        return "this user may not trace other processes: set kernel.yama.ptrace_scope to 0, or run as root"
    return None


def no_mount() -> str | None:
    """Say why no small file system can be mounted here."""
    if not sys.platform.startswith("linux") or os.geteuid():
        return "mounting a small file system needs root on Linux"
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else "this container may not mount file systems"


def mount_small(folder: Path, size: int) -> None:
    """Mount an empty file system of so many bytes in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "lanecast-faults", str(folder)], check=True)
    _mounted.add(folder)


def unmount(folder: Path) -> None:
    """Undo `mount_small`, if it was done. Idempotent."""
    if folder in _mounted:
        _mounted.discard(folder)
        subprocess.run(["umount", "-l", str(folder)], check=True)


@asynccontextmanager
async def injected(pid: int, calls: str, what: str) -> AsyncIterator[None]:
    """Have system calls of a process misbehave for a while.

    Args:
        pid: The process; all of its threads.
        calls: Names of the calls, with commas.
        what: As in strace's `-e inject`, for example `error=EIO`.
    """
    tracer = await asyncio.create_subprocess_exec(
        "strace", "-f", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={calls}", "-e", f"inject={calls}:{what}",
        stdin=subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert tracer.stderr is not None
    try:
        line = await asyncio.wait_for(tracer.stderr.readline(), _TRACER_SECONDS)  # "Process 1 attached …"
        if b"attached" not in line:
            raise RuntimeError(f"strace could not attach: {line.decode().strip()}")
        yield
    finally:
        if tracer.returncode is None:
            tracer.terminate()
        await tracer.communicate()
