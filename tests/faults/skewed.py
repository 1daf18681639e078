"""Runs a service whose wall clock can be set: `python -m faults.skewed MODULE`.

Owns the clock of that process: the file named by FAULTS_CLOCK holds the seconds by which it goes ahead, and is read at
SIGUSR1. The monotonic clock is left alone, as a real jump leaves it alone.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    """Put the clock in place of the real one, then become the service."""
    path = Path(os.environ["FAULTS_CLOCK"])
    real, real_ns = time.time, time.time_ns
    ahead_ns = 0

    def read(*_: object) -> None:
        nonlocal ahead_ns
        ahead_ns = int(float(path.read_text() or "0") * 1e9) if path.exists() else 0

    read()
    signal.signal(signal.SIGUSR1, read)
    time.time = lambda: real() + ahead_ns / 1e9
    time.time_ns = lambda: real_ns() + ahead_ns
    module = sys.argv[1]
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
