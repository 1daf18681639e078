"""The report of a rollout, during it and after.

Owns which facts of the history make the report and its three forms. Pure: everything is in the entries.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from metrics_svc.core.rollout.history import LOOK, MOVED, NOTED, VERB, Entry, plan_data
from metrics_svc.core.rollout.model import NANOS, Rollout, State

Facts = dict[str, Any]
_WIDTH, _HEIGHT = 720, 160
_BOX = f'viewBox="-4 -4 {_WIDTH + 8} {_HEIGHT + 8}"'


def build(rollout: Rollout, entries: Sequence[Entry]) -> Facts:
    """Return the facts of a rollout as plain data."""
    moves = [entry for entry in entries if entry.kind == MOVED]
    looks = [entry for entry in entries if entry.kind == LOOK]
    return {
        "id": rollout.id,
        "plan": plan_data(rollout.plan),
        "state": rollout.state.value,
        "hold": rollout.hold.value if rollout.hold else None,
        "reason": rollout.reason,
        "lanes": list(rollout.lanes),
        "created": _time(rollout.create_ns),
        "updated": _time(rollout.update_ns),
        "highest_exposure_percent": max((entry.data["exposure"] for entry in moves), default=0) / 100,
        "exposed_percent_seconds": _blast(moves, rollout.update_ns),
        "looks": len(looks),
        "rollback": _rollback(moves, entries),
        "overrides": [_line(entry) for entry in entries if entry.kind == VERB and entry.data.get("override")],
        "timeline": [
            {**_line(entry), "state": entry.data.get("state", entry.data.get("verb")), **_percent(entry)}
            for entry in entries
            if entry.kind in {MOVED, VERB}
        ],
        "stages": _stages(rollout, looks),
        "exposure": [[entry.time_ns / NANOS, entry.data["exposure"] / 100] for entry in moves],
        "ratios": _ratios(looks),
    }


def to_json(facts: Facts) -> str:
    """Return the facts as JSON."""
    return json.dumps(facts, indent=1)


def to_markdown(facts: Facts) -> str:
    """Return the report for people who read text."""
    lines = [f"# Rollout {facts['id']}", "", f"{_headline(facts)}", ""]
    lines += [f"- {name}: {value}" for name, value in _summary(facts)]
    lines += [
        "",
        "## Stages",
        "",
        "| stage | rule | verdict | value | interval | compared with | control | candidate |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(facts)]
    lines += ["", "## Timeline", ""]
    lines += [
        f"- {each['time']} {each['state']} {_exposure_of(each)}({each['actor']}): {each['reason']}"
        for each in facts["timeline"]
    ]
    return "\n".join(lines) + "\n"


def to_html(facts: Facts) -> str:
    """Return the report as a page that needs nothing else."""
    text = html.escape
    rows = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in _rows(facts))
    summary = "".join(f"<dt>{text(name)}</dt><dd>{text(str(value))}</dd>" for name, value in _summary(facts))
    timeline = "".join(
        f"<li><time>{text(each['time'])}</time> <b>{text(str(each['state']))}</b> {text(_exposure_of(each))}"
        f"{text(each['actor'])}: {text(each['reason'])}</li>"
        for each in facts["timeline"]
    )
    head = "<th>stage<th>rule<th>verdict<th>value<th>interval<th>compared with<th>control<th>candidate"
    title = f"Rollout {text(facts['id'])}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{text(_headline(facts))}</p><dl>{summary}</dl>"
        f"<h2>Exposure</h2>{_exposure_plot(facts)}<h2>Candidate to control</h2>{_ratio_plots(facts)}"
        f"<h2>Stages</h2><table><tr>{head}</tr>{rows}</table><h2>Timeline</h2><ol>{timeline}</ol></html>\n"
    )


_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;font-size:13px}td,th{border:1px solid #ccc;padding:.2rem .5rem;text-align:left}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0}svg{width:100%;height:auto}"
)


def _headline(facts: Facts) -> str:
    plan = facts["plan"]
    return f"From {plan['baseline']} to {plan['candidate']}: {facts['state']}. {facts['reason']}"


def _summary(facts: Facts) -> list[tuple[str, Any]]:
    found = [
        ("created", facts["created"]),
        ("last change", facts["updated"]),
        ("lanes judged", ", ".join(facts["lanes"]) or "none yet"),
        ("looks", facts["looks"]),
        ("highest exposure", f"{facts['highest_exposure_percent']:g} %"),
        ("blast radius", f"{facts['exposed_percent_seconds']:,.0f} percent of channels times seconds"),
        ("overrides", len(facts["overrides"])),
    ]
    back = facts["rollback"]
    if back:
        last = "not known" if back["seconds"] is None else f"{back['seconds']:.3f} s"
        found += [("rolled back because", back["reason"]), ("from decision to last candidate event", last)]
        found += [("figures recovered", {True: "yes", False: "no", None: "not known yet"}[back["recovered"]])]
    return found


def _rows(facts: Facts) -> list[tuple[str, ...]]:
    return [
        (
            f"{stage['percent']:g} %", each["rule"], each["verdict"], _number(each["value"]),
            f"{_number(each['low'])} to {_number(each['high'])}" if each["low"] is not None else "",
            _number(each["limit"]), f"{each['control']:,}", f"{each['candidate']:,}",
        )
        for stage in facts["stages"]
        for each in stage["results"]
    ]  # fmt: skip


def _stages(rollout: Rollout, looks: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return what the last look of each stage found."""
    last = {entry.data["stage"]: entry for entry in looks}
    return [
        {
            "percent": rollout.plan.stages[number].percent,
            "verdict": entry.data["verdict"],
            "soak": entry.data["soak"],
            "results": entry.data["results"],
        }
        for number, entry in sorted(last.items())
    ]


def _ratios(looks: Sequence[Entry]) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for entry in looks:
        for result in entry.data["results"]:
            if result["rule"].startswith("ratio/") and result["low"] is not None:
                point = [entry.time_ns / NANOS, result["value"], result["low"], result["high"]]
                found.setdefault(result["rule"], []).append(point)
    return found


def _rollback(moves: Sequence[Entry], entries: Sequence[Entry]) -> dict[str, Any] | None:
    began = next((entry for entry in reversed(moves) if entry.data["state"] == State.ROLLING_BACK.value), None)
    if began is None:
        return None
    note = next(
        (e for e in reversed(entries) if e.kind == NOTED and "recovered" in e.data and e.time_ns > began.time_ns), None
    )
    last = note.data["candidate_ns"] if note else 0
    return {
        "time": _time(began.time_ns),
        "reason": began.reason,
        "seconds": max(0.0, (last - began.time_ns) / NANOS) if last else None,
        "recovered": note.data["recovered"] if note else None,
    }


def _blast(moves: Sequence[Entry], end_ns: int) -> float:
    ends = [*(entry.time_ns for entry in moves[1:]), end_ns]
    parts = [
        entry.data["exposure"] / 100 * (end - entry.time_ns) / NANOS for entry, end in zip(moves, ends, strict=False)
    ]
    return float(sum(parts))


def _exposure_plot(facts: Facts) -> str:
    points = facts["exposure"]
    if len(points) < 2:
        return "<p>No channel was exposed yet.</p>"
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    path = ""
    for number, (at, percent) in enumerate(points):
        x, y = (at - first) / (last - first) * _WIDTH, _HEIGHT - percent / 100 * _HEIGHT
        path += f"M{x:.1f},{y:.1f}" if not number else f"H{x:.1f}V{y:.1f}"
    return f'<svg {_BOX}><path d="{path}" fill="none" stroke="#06c" stroke-width="2"/></svg>'


def _ratio_plots(facts: Facts) -> str:
    return "".join(
        _ratio_plot(rule, points, facts["plan"]["max_latency_ratio"]) for rule, points in facts["ratios"].items()
    )


def _ratio_plot(rule: str, points: list[list[float]], limit: float) -> str:
    """Draw ratios with their intervals; the line is what is tolerated."""
    top = max(limit * 1.2, *(min(point[3], limit * 4) for point in points))
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)

    def y(value: float) -> float:
        return _HEIGHT - min(value, top) / top * _HEIGHT

    marks = "".join(
        f'<path d="M{(at - first) / (last - first) * _WIDTH:.1f},{y(low):.1f}V{y(high):.1f}" stroke="#06c"/>'
        f'<circle cx="{(at - first) / (last - first) * _WIDTH:.1f}" cy="{y(value):.1f}" r="2.5" fill="#06c"/>'
        for at, value, low, high in points
    )
    line = f'<path d="M0,{y(limit):.1f}H{_WIDTH}" stroke="#c30" stroke-dasharray="4"/>'
    caption = f"<figcaption>{html.escape(rule)}, {limit:g} tolerated</figcaption>"
    return f"<figure>{caption}<svg {_BOX}>{line}{marks}</svg></figure>"


def _percent(entry: Entry) -> dict[str, float]:
    return {"percent": entry.data["exposure"] / 100} if entry.kind == MOVED else {}


def _exposure_of(each: dict[str, Any]) -> str:
    return f"{each['percent']:g} % " if "percent" in each else ""


def _line(entry: Entry) -> dict[str, Any]:
    return {"time": _time(entry.time_ns), "actor": entry.actor, "reason": entry.reason}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _time(unix_nano: int) -> str:
    return datetime.fromtimestamp(unix_nano / NANOS, UTC).isoformat(timespec="milliseconds")
