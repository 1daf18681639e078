"""Small line charts as SVG, for reports that are one file without scripts.

Owns axes, ticks and colours; the plotting library of the benchmarks is a second of imports and not part of what a
service is installed with. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

WIDTH, HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 28, 26
COLORS = ("#c0392b", "#d68910", "#2471a3", "#7d8c8d")
"""Of the lanes, most urgent first; told apart without colour by their dashes."""
_NOTHING = 1e-9
"""Values up to this are drawn as nothing."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: a value, or None where there is none, for each of the chart's times."""

    name: str
    values: Sequence[float | None]
    style: int
    """Index of colour and dashes."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to heights."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Return where a value is between `low` and `high`, 0 to 1."""
        if self.log:
            value, low, high = (math.log10(max(one, self.low)) for one in (value, self.low, self.high))
        else:
            low, high = self.low, self.high
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def ticks(self) -> list[float]:
        """Return the values with a line."""
        if self.log:
            return [10.0**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        return [self.low + (self.high - self.low) * part / 4 for part in range(5)]


def chart(title: str, unit: str, times: Sequence[int], step: int, lines: Sequence[Line], *, log: bool = False) -> str:
    """Return one chart; a sentence in its place where no line has a value."""
    values = [value for line in lines for value in line.values if value is not None]
    if not values or not times:
        return f"<p><strong>{escape(title)}</strong>: no data in the period.</p>"
    scale = _log_scale(values) if log else _linear_scale(values)
    first, length = times[0], max(step, times[-1] + step - times[0])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">',
        f'<text x="{_LEFT}" y="16" class="t">{escape(title)}, {escape(unit)}</text>',
        *_grid(scale),
        *_time_axis(first, length),
    ]
    for line in lines:
        parts += _line(line, times, step, first, length, scale)
    parts += _legend([line for line in lines if any(value is not None for value in line.values)])
    return "".join([*parts, "</svg>"])


def _line(line: Line, times: Sequence[int], step: int, first: int, length: int, scale: Scale) -> list[str]:
    """Return the runs of a line without a hole; a lone value is a dot."""
    runs: list[list[tuple[float, float]]] = [[]]
    last = None
    for time, value in zip(times, line.values, strict=True):
        if value is None or (last is not None and time - last > step):
            runs.append([])
        if value is not None:
            runs[-1].append((_x((time + step / 2 - first) / length), _y(scale.share(value))))
            last = time
    color, dash = COLORS[line.style % 4], _DASHES[line.style % 4]
    shapes = []
    for run in filter(None, runs):
        if len(run) == 1:
            shapes.append(f'<circle cx="{run[0][0]:.1f}" cy="{run[0][1]:.1f}" r="3" fill="{color}"/>')
            continue
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        shapes.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"{dashes}/>')
    return shapes


def _grid(scale: Scale) -> list[str]:
    parts = []
    for tick in scale.ticks():
        y = _y(scale.share(tick))
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="g"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="a" text-anchor="end">{number(tick)}</text>')
    return parts


def _time_axis(first: int, length: int) -> list[str]:
    form = "%H:%M:%S" if length <= 600 else "%H:%M" if length <= 2 * 86_400 else "%m-%d"
    parts = []
    for part in range(6):
        at = datetime.fromtimestamp(first + length * part / 5, UTC).strftime(form)
        anchor = "start" if part == 0 else "end" if part == 5 else "middle"
        x = _x(part / 5)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" class="a" text-anchor="{anchor}">{at}</text>')
    return parts


def _legend(lines: Sequence[Line]) -> list[str]:
    parts, x = [], WIDTH - _RIGHT - 92.0 * len(lines)
    for line in lines:
        color, dash = COLORS[line.style % 4], _DASHES[line.style % 4]
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        parts.append(f'<line x1="{x}" x2="{x + 20}" y1="12" y2="12" stroke="{color}" stroke-width="2"{dashes}/>')
        parts.append(f'<text x="{x + 25}" y="16" class="a">{escape(line.name)}</text>')
        x += 92
    return parts


def _log_scale(values: Sequence[float]) -> Scale:
    positive = [value for value in values if value > _NOTHING] or [1.0]
    low, high = 10.0 ** math.floor(math.log10(min(positive))), 10.0 ** math.ceil(math.log10(max(positive)))
    return Scale(low, high if high > low else low * 10, log=True)


def _linear_scale(values: Sequence[float]) -> Scale:
    high = max(values)
    if high <= _NOTHING:
        return Scale(0.0, 1.0, log=False)
    unit = 10.0 ** math.floor(math.log10(high))
    return Scale(0.0, next(unit * part for part in (1, 2, 4, 5, 8, 10) if unit * part >= high * 0.999), log=False)


def _x(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def number(value: float) -> str:
    """Return a number for an axis."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}" if abs(value) >= 1e-9 else "0"
