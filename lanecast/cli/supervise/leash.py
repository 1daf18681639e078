"""Runs a Python script that ends when its parent ends: `python -m lanecast.cli.supervise.leash PID SCRIPT ARGS…`.

Owns the leash of programs that do not know of the supervisor, as the examples; the services watch their standard input
instead. The kernel sends SIGTERM to this process when its parent is gone, and that survives the exec into the script.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Tie this process to its parent and become the script; returns only where the parent is gone already."""
    parent, *command = arguments
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        sys.stderr.write(f"cannot tie this process to its supervisor: {os.strerror(ctypes.get_errno())}\n")
    if os.getppid() == int(parent):
        os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 - the interpreter we run in
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
