"""Durations as people write them.

Owns the notation. Imports nothing.
"""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")


def parse_duration(text: str) -> float:
    """Return the seconds in `90s`, `15m`, `1h`, `7d`, `250ms`, `1h30m` or, without a unit, `90`.

    Raises:
        ValueError: it is none of these; the message shows the notation.
    """
    compact = text.strip().lower()
    parts = _PATTERN.findall(compact)
    if not compact or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"{text!r} is no duration: write it as 90s, 15m, 1h or 7d")
    if len(parts) > 1 and any(not unit for _, unit in parts):
        raise ValueError(f"{text!r} has a number without a unit: write it as 90s, 15m, 1h or 7d")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
