"""Wakes an event loop at a point in time to within tens of microseconds.

asyncio's and uvloop's own timers count whole milliseconds, which would make every generator late by half of one. A
Linux timer file descriptor does not; where there is none the loop's timer is used and the lateness shows in the result.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

_CLOCK_REALTIME = 0
_ABSOLUTE = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """Calls `ring` in the loop soon after the time that was set last."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: asyncio.TimerHandle | None = None
        self._interval_ns = 0
        self._descriptor = -1
        if sys.platform == "linux":
            self._library = ctypes.CDLL(None, use_errno=True)
            self._setting = _Setting()
            self._descriptor = self._library.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor >= 0:
            loop.add_reader(self._descriptor, self._expired)

    def set(self, time_ns: int) -> None:
        """Ring at `time_ns` (nanoseconds since the Unix epoch), at once where that has passed."""
        self._arm(time_ns, 0)

    def every(self, time_ns: int, interval_ns: int) -> None:
        """Ring at `time_ns` and from then on at each multiple of the interval, without being set again."""
        self._arm(time_ns, interval_ns)

    def _arm(self, time_ns: int, interval_ns: int) -> None:
        if self._descriptor < 0:
            self._interval_ns = interval_ns
            self._handle = self._loop.call_later(max(0, time_ns - time.time_ns()) / 1e9, self._elapsed)
            return
        value, interval = self._setting.value, self._setting.interval
        value.seconds, value.nanoseconds = divmod(max(1, time_ns), 1_000_000_000)
        interval.seconds, interval.nanoseconds = divmod(interval_ns, 1_000_000_000)
        if self._library.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(self._setting), None) != 0:
            raise OSError(ctypes.get_errno(), "cannot set the timer")

    def _elapsed(self) -> None:
        if self._interval_ns:
            self._handle = self._loop.call_later(self._interval_ns / 1e9, self._elapsed)
        self._ring()

    def _expired(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:  # set again between expiring and being read
            return
        self._ring()

    def close(self) -> None:
        """Stop; nothing rings afterwards."""
        if self._handle is not None:
            self._handle.cancel()
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
