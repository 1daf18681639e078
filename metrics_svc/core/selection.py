"""What a query asks for: a window, lanes, types, an arm.

Owns the limits and defaults of these and the sentences that refuse others. Used by the gRPC and HTTP shells before
they query; `queries` relies on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lanecast.core.priority import Priority
from lanecast.errors import StatusError

INVALID_ARGUMENT = 3
"""The canonical gRPC code."""

MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS = 1, 30 * 24 * 3600
DEFAULT_WINDOW_SECONDS, DEFAULT_STATUS_WINDOW_SECONDS, DEFAULT_WATCH_WINDOW_SECONDS = 60, 300, 10
MAX_WATCH_WINDOW_SECONDS = 3600
MIN_INTERVAL_SECONDS, MAX_INTERVAL_SECONDS, DEFAULT_INTERVAL_SECONDS = 0.1, 60.0, 1.0
MAX_TYPES = 64
"""Most event types in one query."""
EACH_TYPE = "*"
"""In place of names: each type that has figures of its own."""

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|min|h|d)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,254}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which series a query is about."""

    lanes: tuple[Priority, ...] = ()
    """Empty: all."""
    types: tuple[str, ...] = ()
    """Full names, or `EACH_TYPE` alone. Empty: all together."""
    arm: str = ""
    """`baseline` or `candidate`. Empty: both together."""


def check_types(types: tuple[str, ...]) -> tuple[str, ...]:
    """Return `types` without repetitions.

    Raises:
        StatusError: there are too many, or one is no name.
    """
    if len(types) > MAX_TYPES:
        raise invalid("TOO_MANY_TYPES", f"{len(types)} types were given: use at most {MAX_TYPES}", "types")
    if types == (EACH_TYPE,):
        return types
    for name in types:
        if not _TYPE.fullmatch(name):
            raise invalid("TYPE_MALFORMED", f"{name!r:.100} is not the full name of a message type", "types")
    return tuple(dict.fromkeys(types))


def check_window(seconds: float | None, default: int, maximum: int = MAX_WINDOW_SECONDS) -> int:
    """Return the window in whole seconds, rounded up.

    Raises:
        StatusError: it is out of range.
    """
    if seconds is None:
        return default
    if not MIN_WINDOW_SECONDS <= seconds <= maximum:
        text = f"the window is {seconds:g} s: use {MIN_WINDOW_SECONDS} s to {_readable(maximum)}"
        raise invalid("WINDOW_OUT_OF_RANGE", text, "window")
    return int(-(-seconds // 1))


def check_interval(seconds: float | None) -> float:
    """Return the interval in seconds.

    Raises:
        StatusError: it is out of range.
    """
    if seconds is None:
        return DEFAULT_INTERVAL_SECONDS
    if not MIN_INTERVAL_SECONDS <= seconds <= MAX_INTERVAL_SECONDS:
        raise invalid("INTERVAL_OUT_OF_RANGE", f"the interval is {seconds:g} s: use 100 ms to 60 s", "interval")
    return seconds


def parse_duration(text: str, field: str) -> float:
    """Return a duration written as `60`, `60s`, `250ms`, `5m`, `1h` or `2d` in seconds.

    Raises:
        StatusError: it is written in another way.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise invalid("DURATION_MALFORMED", f"the {field} is {text!r:.60}: write it as 60s, 250ms, 5m or 1h", field)
    return float(match[1]) * _UNITS[match[2]]


def parse_lanes(names: list[str]) -> tuple[Priority, ...]:
    """Return the lanes called `names`, without repetitions.

    Raises:
        StatusError: one is unknown.
    """
    try:
        return tuple(dict.fromkeys(Priority.parse(name) for name in names))
    except ValueError as error:
        raise invalid("LANE_UNKNOWN", f"{error}"[:300], "lanes") from error


def invalid(reason: str, message: str, field: str) -> StatusError:
    """Return the error for a malformed request."""
    return StatusError(INVALID_ARGUMENT, reason, message, field=field)


def _readable(seconds: int) -> str:
    return f"{seconds // 86400} days" if seconds >= 86400 else f"{seconds // 3600} h"
