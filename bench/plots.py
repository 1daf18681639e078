"""Draws latency distributions and their course over time.

Owns the pictures; matplotlib is imported here only, because it takes a second.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from bench.figures import merge_sparse, percentile_curve

_LANES = ("CRITICAL", "HIGH", "NORMAL", "LOW", "ALL")
_TICKS = (1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)
_LABELS = ("0", "90", "99", "99.9", "99.99", "99.999")


def draw(result: dict[str, Any]) -> bytes:
    """Return a PNG: one percentile plot per window and lane, and p99 and memory over time below."""
    plt = _pyplot()
    systems = list(dict.fromkeys(run["system"] for run in result["runs"]))
    colors = {name: f"C{index}" for index, name in enumerate(systems)}
    panels = _panels(result)
    columns = min(3, max(1, len(panels)))
    rows = -(-len(panels) // columns) + 1
    figure = plt.figure(figsize=(5.2 * columns, 3.8 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    for index, (window, lane) in enumerate(panels):
        _percentiles(figure.add_subplot(grid[divmod(index, columns)]), result, window, lane, colors)
    below = grid[rows - 1, :].subgridspec(1, 2)
    _over_time(figure.add_subplot(below[0, 0]), result, colors)
    _memory(figure.add_subplot(below[0, 1]), result, colors)
    scenario = result["scenario"]
    figure.suptitle(f"{scenario['name']}: {scenario['title']}\n{result['machine']['cpu']}, {result['started']}")
    return _png(plt, figure)


def draw_sweep(result: dict[str, Any]) -> bytes:
    """Return a PNG: p99 over offered deliveries/s, crosses where a trial did not hold."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for index, found in enumerate(result["found"]):
        trials = sorted((t for t in found["trials"] if t["p99_ms"]), key=lambda t: float(t["deliveries_per_second"]))
        axes.plot(*_points(trials), color=f"C{index}", label=found["system"], lw=1)
        for held, marker in ((True, "o"), (False, "x")):
            some = [trial for trial in trials if trial["held"] is held]
            axes.plot(*_points(some), color=f"C{index}", marker=marker, linestyle="none")
    axes.axhline(result["p99_ms"], color="gray", linestyle="--", lw=1)
    axes.set(xscale="log", yscale="log", xlabel="deliveries/s offered", ylabel="p99 ms")
    axes.set_title(f"{result['scenario']['name']}: {result['scenario']['title']}\n{result['machine']['cpu']}")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    return _png(plt, figure)


def _points(trials: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    return [trial["deliveries_per_second"] for trial in trials], [trial["p99_ms"] for trial in trials]


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def _png(plt: Any, figure: Any) -> bytes:
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    plt.close(figure)
    return picture.getvalue()


def _panels(result: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for window in result["scenario"]["windows"]:
        lanes = {lane for run in result["runs"] for lane in run["windows"].get(window["name"], {})}
        if len(lanes) == 2:
            lanes.discard("ALL")  # the same as the only lane
        found += [(window["name"], lane) for lane in _LANES if lane in lanes]
    return found


def _percentiles(axes: Any, result: dict[str, Any], window: str, lane: str, colors: dict[str, str]) -> None:
    for name, color in colors.items():
        found = [run["windows"].get(window, {}).get(lane) for run in result["runs"] if run["system"] == name]
        parts = [figures["buckets"] for figures in found if figures]
        if parts:
            axes.plot(*percentile_curve(merge_sparse(parts)), color=color, label=name, drawstyle="steps-post")
    axes.set(xscale="log", yscale="log", xlim=(1, 1e-5), ylabel="ms", xlabel="percentile")
    axes.set_xticks(_TICKS, _LABELS)
    axes.set_title(lane if window == "all" else f"{lane}, {window}")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize="small")


def _over_time(axes: Any, result: dict[str, Any], colors: dict[str, str]) -> None:
    for run in result["runs"]:
        steps = [step for step in run["over_time"] if step["count"]]
        axes.plot([s["seconds"] for s in steps], [s["p99_ms"] for s in steps], color=colors[run["system"]], lw=1)
    axes.set(yscale="log", xlabel="s since the end of the warm-up", ylabel="ms", title="p99 over time")
    axes.grid(visible=True, which="both", alpha=0.25)


def _memory(axes: Any, result: dict[str, Any], colors: dict[str, str]) -> None:
    for run in result["runs"]:
        curve = run["cost"]["rss_over_time"]
        axes.plot([at for at, _ in curve], [size / 2**20 for _, size in curve], color=colors[run["system"]], lw=1)
    axes.set(xlabel="s since the start", ylabel="MiB", title="memory of the servers", ylim=(0, None))
    axes.grid(visible=True, alpha=0.25)
