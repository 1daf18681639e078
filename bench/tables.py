"""Turns the plain-data result of a suite into tables of text.

Owns which figures are shown, how they are rounded, and which runs are marked. Pure: `render` prints the same tables on
a terminal and into a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Spread, drift, ratio, spread
from bench.machine import STEAL_LIMIT
from bench.systems import OWN

Result = dict[str, Any]
_LANES = ("CRITICAL", "HIGH", "NORMAL", "LOW", "ALL")
_QUANTILES = (("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms"), ("max", "max_ms"))
_SINCE_SEND = ("p99 since sent", "from_send_p99_ms")
_BUSY_LIMIT = 0.8
_NONE = _TO = "–"  # noqa: RUF001 - an en dash, as between figures
_TIMES = "×"  # noqa: RUF001 - a multiplication sign
_LATE_LIMIT = 0.25
"""A generator whose p99 lateness is a greater share of the p99 latency than this has made the latter."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table, ready to be shown."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: Sequence[str] = field(default_factory=list)


def build(result: Result) -> list[Table]:
    """Return all tables of a suite's result."""
    runs = result["runs"]
    names = _systems(runs)
    tables = [_latency(runs, names, window["name"], result["scenario"]) for window in result["scenario"]["windows"]]
    if result["scenario"]["kind"] == "isolation":
        tables.append(_isolation(runs, names, result["scenario"]))
    tables += [_cost(runs, names), _conditions(runs, names), *_own(runs)]
    if result["scenario"]["kind"] in {"soak", "idle"}:
        tables.append(_memory(runs, names))
    versions = {run["system"]: run["version"] for run in runs}
    tables.append(Table("Measured", ("system", "version"), list(versions.items())))
    return [table for table in tables if table.rows]


def _systems(runs: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(run["system"] for run in runs))


def _of(runs: Iterable[Result], name: str) -> list[Result]:
    return [run for run in runs if run["system"] == name]


def number(value: float | None) -> str:
    """Write a figure with three significant digits, or more where it is 100 and above."""
    if value is None:
        return _NONE
    if value == 0:
        return "0"
    magnitude = abs(value)
    decimals = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3
    return f"{value:,.{decimals}f}"


def ranged(figure: Spread | None) -> str:
    """Write a median with its range, without the range where there was one run only."""
    if figure is None:
        return _NONE
    if figure.runs == 1:
        return number(figure.median)
    return f"{number(figure.median)} ({number(figure.low)}{_TO}{number(figure.high)})"


def collect(runs: Iterable[Result], pick: Callable[[Result], float | None]) -> Spread | None:
    """Return the spread of what `pick` finds; None where it finds nothing."""
    values = [value for run in runs if (value := pick(run)) is not None]
    return spread(values) if values else None


def _pick(window: str, lane: str, name: str) -> Callable[[Result], float | None]:
    def pick(run: Result) -> float | None:
        value: float | None = run["windows"].get(window, {}).get(lane, {}).get(name)
        return value

    return pick


def _times(peer: Spread | None, own: Spread | None) -> str:
    times = ratio(peer.median, own.median) if peer and own else None
    return f"{number(times)} {_TIMES}" if times is not None else _NONE


def _latency(runs: Sequence[Result], names: Sequence[str], window: str, scenario: Result) -> Table:
    rows: list[tuple[str, ...]] = []
    for lane in _shown_lanes(runs, window):
        own = collect(_of(runs, OWN), _pick(window, lane, "p99_ms"))
        for name in names:
            mine = _of(runs, name)
            p99 = collect(mine, _pick(window, lane, "p99_ms"))
            if p99 is None:
                continue
            cells = [_quantile(mine, window, lane, key) for _, key in (*_QUANTILES, _SINCE_SEND)]
            rows.append((lane, name, *cells, "" if name == OWN else _times(p99, own), _goal(scenario, lane, p99)))
    columns = ("lane", "system", *(f"{label} ms" for label, _ in (*_QUANTILES, _SINCE_SEND)), "p99 ÷ ours", "p99 limit")
    title = "Scheduled send → receipt" + ("" if window == "all" else f", {window}")
    repeats = max((len(_of(runs, name)) for name in names), default=0)
    return Table(title, columns, rows, [f"medians of {repeats} runs, p99 with its range"] if repeats > 1 else [])


def _shown_lanes(runs: Sequence[Result], window: str) -> list[str]:
    found = {lane for run in runs for lane in run["windows"].get(window, {})}
    if len(found) == 2:
        found.discard("ALL")  # the same as the only lane
    return [lane for lane in _LANES if lane in found]


def _quantile(runs: Sequence[Result], window: str, lane: str, key: str) -> str:
    found = collect(runs, _pick(window, lane, key))
    return ranged(found) if key == "p99_ms" or found is None else number(found.median)


def _goal(scenario: Result, lane: str, p99: Spread) -> str:
    limit = scenario["limits_ms"].get(lane)
    return "" if limit is None else f"≤ {number(limit)}: {'yes' if p99.median <= limit else 'no'}"


def _isolation(runs: Sequence[Result], names: Sequence[str], scenario: Result) -> Table:
    first, last = scenario["windows"][0]["name"], scenario["windows"][-1]["name"]
    rows = []
    for name in names:
        idle = collect(_of(runs, name), _pick(first, "CRITICAL", "p99_ms"))
        loaded = collect(_of(runs, name), _pick(last, "CRITICAL", "p99_ms"))
        rows.append((name, ranged(idle), ranged(loaded), _times(loaded, idle)))
    columns = ("system", f"p99 {first} ms", f"p99 {last} ms", "growth")
    return Table("CRITICAL beside LOW at a multiple of capacity", columns, rows)


def _cost(runs: Sequence[Result], names: Sequence[str]) -> Table:
    columns = [_cost_column(_of(runs, name)) for name in names]
    cpu = {name: collect(_of(runs, name), _cpu) for name in names}
    rows = [(label, *(column[label] for column in columns)) for label in columns[0]] if columns else []
    rows.append(("CPU ÷ ours", *("" if name == OWN else _times(cpu[name], cpu.get(OWN)) for name in names)))
    note = "sums over all runs where a count, else medians with their range; resident memory, not the kernel's"
    return Table("Account and cost", ("", *names), rows, [note])


def _cpu(run: Result) -> float | None:
    value: float | None = run["cost"]["server_cpu_seconds_per_million"]
    return value


def _cost_column(runs: Sequence[Result]) -> dict[str, str]:
    accounts = [run["account"] for run in runs]
    gaps = sum(run["receiver"]["notes"].get("gap_events", 0) for run in runs)
    unasked = sum(account["unexpected"] + account["foreign"] for account in accounts)
    return {
        "deliveries/s": ranged(collect(runs, lambda run: run["cost"]["deliveries_per_second"])),
        "deliveries due": f"{sum(account['expected'] for account in accounts):,}",
        "lost": f"{sum(account['lost'] for account in accounts):,}",
        "doubled": f"{sum(account['duplicated'] for account in accounts):,}",
        "unasked": f"{unasked:,}",
        "named by gaps": f"{gaps:,}",
        "events refused": f"{sum(account['refused_events'] for account in accounts):,}",
        "events per frame": ranged(collect(runs, lambda run: run["receiver"]["events_per_frame"])),
        "KiB per connection": ranged(collect(runs, lambda run: run["memory"]["per_connection_bytes"] / 1024)),
        "server CPU s per million": ranged(collect(runs, _cpu)),
    }


def marks(run: Result) -> list[str]:
    """Return why the figures of a run deserve less trust; empty where they do not."""
    found = []
    steal = run["cost"]["steal"]
    if steal is None:
        found.append("steal time unknown")
    elif steal > STEAL_LIMIT:
        found.append(f"steal {steal:.1%}")
    if run["cost"]["receiver_busy"] > _BUSY_LIMIT:
        found.append(f"receiver {run['cost']['receiver_busy']:.0%} busy")
    if run["cost"]["generator_busy"] > _BUSY_LIMIT:
        found.append(f"generator {run['cost']['generator_busy']:.0%} busy")
    p99 = max((lanes["ALL"]["p99_ms"] for lanes in run["windows"].values() if "ALL" in lanes), default=0.0)
    late = run["generator"]["lateness"]["p99_ms"]
    if p99 and late > _LATE_LIMIT * p99:
        found.append(f"generator late by {number(late)} ms at p99")
    if run["receiver"]["closed"]:
        found.append("connections closed: " + "; ".join(map(str, run["receiver"]["closed"])))
    return found


def _conditions(runs: Sequence[Result], names: Sequence[str]) -> Table:
    rows = []
    for name in names:
        for run in _of(runs, name):
            cost, floors = run["cost"], run["floor"]
            rows.append((
                name,
                str(run["repeat"]),
                " → ".join(f"{number(floor['p50_ms'])}/{number(floor['p99_ms'])}" for floor in floors),
                "unknown" if cost["steal"] is None else f"{cost['steal']:.1%}",
                "unknown" if cost["idle"] is None else f"{cost['idle']:.0%}",
                f"{number(run['generator']['lateness']['p50_ms'])}/{number(run['generator']['lateness']['p99_ms'])}",
                f"{cost['generator_busy']:.0%}",
                number(cost["receiver_micros_per_delivery"]),
                f"{cost['receiver_busy']:.0%}",
                "; ".join(marks(run)),
            ))  # fmt: skip
    columns = ("system", "run", "floor ms", "steal", "idle", "late ms", "sender", "µs/receipt", "receiver", "marked")
    notes = (
        "floor: raw TCP echo between two processes there and back, p50/p99, before → after the run",
        "late: how late the generator handed events over, p50/p99; it is part of every latency above",
        "sender, receiver: how busy these processes were; µs/receipt: what a delivery costs the receiver",
    )
    return Table("Conditions of each run", columns, rows, notes)


def _own(runs: Sequence[Result]) -> list[Table]:
    """Return what metrics_svc reported, beside what the receivers saw."""
    mine = [run for run in _of(runs, OWN) if run["reported"]]
    problems = [run["reported"]["problem"] for run in mine if "problem" in run["reported"]]
    mine = [run for run in mine if "problem" not in run["reported"]]
    if not mine:
        return [Table("Reported by metrics_svc", ("problem",), [(text,) for text in problems])]
    return [_server_table(mine), _hop_table(mine)]


def _server_table(runs: Sequence[Result]) -> Table:
    rows = []
    for lane in _LANES[:-1]:
        figures = [run["reported"]["server"][lane] for run in runs if lane in run["reported"]["server"]]
        if not figures:
            continue
        cells = [ranged(collect(figures, lambda figure, key=key: figure[key])) for _, key in _QUANTILES]  # type: ignore[misc]
        budget = figures[0]["budget_ms"]
        p99 = collect(figures, lambda figure: figure["p99_ms"])
        assert p99 is not None
        kept = f"≤ {number(budget)}: {'yes' if p99.median <= budget else 'no'}"
        within = ranged(collect(figures, lambda figure: figure["within_budget"] * 100))
        rows.append((lane, *cells, within, kept))
    columns = ("lane", *(f"{label} ms" for label, _ in _QUANTILES), "% within budget", "budget at p99")
    return Table("Publisher accept → socket write, reported by metrics_svc", columns, rows)


def _hop_table(runs: Sequence[Result]) -> Table:
    hops = list(dict.fromkeys(hop for run in runs for hop in run["reported"]["hops"]))
    rows = []
    for hop in hops:
        cells = []
        for lane in _LANES[:-1]:
            figures = [
                run["reported"]["hops"][hop][lane] for run in runs if lane in run["reported"]["hops"].get(hop, {})
            ]
            p50, p99 = (collect(figures, lambda figure, key=key: figure[key]) for key in ("p50_ms", "p99_ms"))  # type: ignore[misc]
            cells.append(f"{number(p50.median)} / {number(p99.median)}" if p50 and p99 else _NONE)
        rows.append((hop, *cells))
    return Table("Hops, p50 / p99 ms, reported by metrics_svc", ("hop", *_LANES[:-1]), rows)


def _memory(runs: Sequence[Result], names: Sequence[str]) -> Table:
    rows = []
    for name in names:
        for run in _of(runs, name):
            curve = [size / 2**20 for _, size in run["cost"]["rss_over_time"]]
            p99 = [step["p99_ms"] for step in run["over_time"] if step["seconds"] >= 0 and step["count"]]
            rows.append((
                name,
                str(run["repeat"]),
                number(run["memory"]["empty_bytes"] / 2**20),
                number(curve[0]),
                number(max(curve)),
                number(curve[-1]),
                number(drift(curve)),
                number(drift(p99)),
            ))  # fmt: skip
    columns = (
        "system", "run", "empty MiB", "connected MiB", "highest MiB", "last MiB", "memory drift", "p99 drift",
    )  # fmt: skip
    note = "drift: median of the last quarter over that of the first; 1 is flat"
    return Table("Memory of the servers over time", columns, rows, [note])


def sweep(outcome: Result) -> list[Table]:
    """Return the result of a sweep: what each system reached, and every trial on the way there."""
    own = next((found["deliveries_per_second"] for found in outcome["found"] if found["system"] == OWN), 0.0)
    reached, trials = [], []
    for found in outcome["found"]:
        name, rate = found["system"], found["deliveries_per_second"]
        times = ratio(own, rate)
        best = f"{number(times)} {_TIMES}" if times and name != OWN else ""
        reached.append((name, f"{rate:,.0f}" if rate else "none", best))
        for trial in sorted(found["trials"], key=lambda trial: float(trial["deliveries_per_second"])):
            account = trial["account"]
            faults = f"{account['lost']:,} / {account['duplicated']:,} / {account['refused_events']:,}"
            offered = f"{trial['deliveries_per_second']:,.0f}"
            verdict = "yes" if trial["held"] else "no"
            trials.append((name, offered, number(trial["p50_ms"]), number(trial["p99_ms"]), faults, verdict))
    title = f"Highest deliveries/s with p99 ≤ {number(outcome['p99_ms'])} ms and nothing lost, doubled or refused"
    columns = ("system", "deliveries/s", "p50 ms", "p99 ms", "lost / doubled / refused", "held")
    return [Table(title, ("system", "deliveries/s", "ours ÷ it"), reached), Table("Trials", columns, trials)]
