"""Plain tables and numbers for the terminal.

Owns alignment, and how figures are written: three significant digits, so that a column stays narrow. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a table; the first `left` columns are aligned to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return [line(heads), *(line(row) for row in rows)]


def millis(seconds: float) -> str:
    """Return seconds as milliseconds."""
    value = seconds * 1e3
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def percent(share: float) -> str:
    """Return a share as a percentage; never 100 where something is missing from it."""
    if share >= 1:
        return "100%"
    text = f"{min(share * 100, 99.99):.2f}"
    return f"{text}%"


def rate(per_second: float) -> str:
    """Return a rate."""
    if per_second >= 100_000:
        return f"{per_second / 1000:.0f}k"
    if per_second >= 10_000:
        return f"{per_second / 1000:.1f}k"
    return f"{per_second:.0f}" if per_second >= 100 or per_second == 0 else f"{per_second:.1f}"


def count(number: float) -> str:
    """Return a count."""
    return f"{number:,.0f}" if number < 1_000_000 else f"{number / 1e6:,.1f}M"


def ago(seconds: float) -> str:
    """Return how long ago something was."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"
