"""Reports and the service level document as a page of one file: no script, nothing loaded from elsewhere.

Owns the page. The words and tables are those of `report_text`, the plots of `svg`. Called by `reports`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from lanecast.core.priority import LANES, Priority
from metrics_svc.core import report_text as text
from metrics_svc.core.report import SLA, Point, ReportData, when
from metrics_svc.core.svg import Line, chart

_STYLE = """
:root { color-scheme: light; --line: #d5dbdb; --dim: #566573; }
body { font: 16px/1.5 system-ui, sans-serif; color: #17202a; background: #fff; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
.wide { overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .5rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.missed { color: #922b21; font-weight: 700; } td.met { color: #1d6f42; }
.grade { font-size: 3rem; font-weight: 700; float: left; line-height: 1; margin: 0 1rem .5rem 0; border: 3px solid;
  border-radius: .5rem; padding: .4rem .9rem; }
.A, .B { color: #1d6f42; } .C { color: #9a6700; } .D, .F { color: #922b21; } .UNKNOWN { color: var(--dim); }
svg { width: 100%; height: auto; margin: .6rem 0; } svg .t { font-size: 13px; font-weight: 600; }
svg .a { font-size: 11px; fill: #566573; } svg .g { stroke: #e5e8e8; }
footer { color: var(--dim); font-size: .85rem; margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
@media print { body { margin: 0; max-width: none; } h2, svg, table { break-inside: avoid; } }
"""


def html(data: ReportData) -> str:
    """Return the page of a report's kind."""
    body = _sla(data) if data.order.kind == SLA else _performance(data)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(data.title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + f"\n<footer>Made by Lanecast on {when(data.made_ns // 1_000_000_000)}. {escape(text.MEASURED)}</footer>"
        "\n</body>\n</html>\n"
    )


def _performance(data: ReportData) -> list[str]:
    name = data.status.grade.name
    shown = name if data.status.grade else "?"
    parts = [
        f"<h1>{escape(data.title)}</h1>",
        f'<div class="grade {name}" role="img" aria-label="grade {name}">{shown}</div>',
        f"<p>{_inline(text.summary(data))}</p>",
        '<h2 style="clear: both">Lanes</h2>',
        _table(text.lane_table(data)),
        "<h2>Over time</h2>",
        *_plots(data),
    ]
    if data.hops:
        parts += ["<h2>Where the time goes</h2>", f"<p>{_inline(text.HOPS_TEXT)}</p>", _table(text.hops(data))]
    if data.types:
        parts += ["<h2>AI systems</h2>", _table(text.type_table(data))]
    items = [f"<li><strong>{escape(one.action)}</strong> {escape(one.evidence)}</li>" for one in data.status.advice]
    parts += ["<h2>What to change</h2>", f"<ul>{''.join(items)}</ul>" if items else f"<p>{text.NO_ADVICE}</p>"]
    return parts


def _sla(data: ReportData) -> list[str]:
    period = f"Period: {when(data.order.start)} to {when(data.order.end)}.{text.coverage(data)}"
    return [
        f"<h1>{escape(data.title)}</h1>",
        f"<p>{_inline(period)}</p>",
        "<h2>What is promised</h2>",
        _table(text.objective_table(data)),
        "<h2>How it is measured</h2>",
        f"<p>{escape(text.MEASURED)}</p><p>{escape(text.EXCLUDED)}</p>",
        "<h2>The record</h2>",
        f"<p>{_inline(text.verdict(data))}</p>",
        _table(text.record_table(data)),
        _plot(data, "Within the lane's limit", "%", lambda point: point.good, 100.0),
    ]


def _plots(data: ReportData) -> list[str]:
    return [
        _plot(data, "99th percentile of delivery", "ms", lambda point: point.p99, 1e3, log=True),
        _plot(data, "Median of delivery", "ms", lambda point: point.p50, 1e3, log=True),
        _plot(data, "Within the lane's limit", "%", lambda point: point.good, 100.0),
        _plot(data, "Deliveries", "per second", lambda point: point.delivered, 1.0),
    ]


def _plot(
    data: ReportData,
    title: str,
    unit: str,
    values: Callable[[Point], dict[Priority, float]],
    factor: float,
    *,
    log: bool = False,
) -> str:
    lines = []
    for style, lane in enumerate(LANES):
        found = [values(point).get(lane) for point in data.points]
        lines.append(Line(lane.name, [None if value is None else value * factor for value in found], style))
    return chart(title, unit, [point.start for point in data.points], data.step, lines, log=log)


def _table(table: text.Table) -> str:
    heads, rows = table
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: str) -> str:
    style = f' class="{value}"' if value in {"met", "missed"} else ""
    return f"<td{style}>{_inline(value)}</td>"


def _inline(sentence: str) -> str:
    """Return a sentence of `report_text` with its bold parts as HTML."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(sentence))
