// One lane's latency over time, drawn by uPlot: logarithmic, with the limit, and with what rollouts did. Knows nothing of
// React; `latency.tsx` owns its life.

import uPlot from "uplot";
import type { Marker } from "./series.ts";

const HEIGHT = 170;
/** Charts with this key share their cursor. */
const SYNC = "latency";

export interface ChartSettings {
  readonly limitMs: number;
  readonly range: () => [number, number];
  readonly markers: () => readonly Marker[];
  /** The index under the cursor; null where it is elsewhere. */
  readonly onCursor: (index: number | null) => void;
}

export function makeChart(target: HTMLElement, settings: ChartSettings): uPlot {
  const { limitMs, range, markers, onCursor } = settings;
  const color = (property: string) => () => getComputedStyle(target).getPropertyValue(property).trim();
  const font = "11px system-ui, sans-serif";
  const axis = { stroke: color("--muted"), font, ticks: { show: false }, grid: { stroke: color("--line"), width: 1 } };
  return new uPlot(
    {
      width: Math.max(120, target.clientWidth),
      height: HEIGHT,
      padding: [14, 6, 0, 0],
      cursor: { sync: { key: SYNC }, y: false, points: { size: 7 }, drag: { x: false, y: false } },
      legend: { show: false },
      scales: { x: { time: true }, y: { distr: 3, range: () => range() } },
      axes: [
        { ...axis, space: 70, size: 24, values: times },
        {
          ...axis,
          size: 46,
          grid: { ...axis.grid, filter: (_, splits) => splits.map((ms) => (isDecade(ms) ? ms : null)) },
          values: (_, splits) => splits.map((ms) => (isDecade(ms) ? milliseconds(ms) : "")),
        },
      ],
      series: [
        {},
        { stroke: color("--muted"), width: 1.25, dash: [2, 3], points: { show: false }, spanGaps: false },
        {
          stroke: color("--series-1"),
          width: 2,
          points: { show: (u, index) => lonely(u, index), size: 5, fill: color("--series-1") },
          spanGaps: false,
        },
      ],
      hooks: {
        drawClear: [(u) => shadeBeyond(u, limitMs, color("--beyond")())],
        draw: [
          (u) => drawLimit(u, limitMs, color("--ink")()),
          (u) => drawMarkers(u, markers(), color("--warn")(), font),
        ],
        setCursor: [(u) => onCursor(u.cursor.idx ?? null)],
      },
    },
    [[], [], []],
    target,
  );
}

/** Points are drawn where the line alone would be invisible: a value between two silences. */
function lonely(u: uPlot, series: number): boolean {
  const values = u.data[series] ?? [];
  return values.some((value, index) => value != null && values[index - 1] == null && values[index + 1] == null);
}

function times(_: uPlot, splits: number[]): string[] {
  const width = (splits.at(-1) ?? 0) - (splits[0] ?? 0);
  return splits.map((second) => {
    const date = new Date(second * 1_000);
    if (width > 3 * 86_400) return date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
    const clock = date.toLocaleTimeString("en-GB");
    return width < 600 ? clock : clock.slice(0, 5);
  });
}

function isDecade(ms: number): boolean {
  const power = Math.log10(ms);
  return Math.abs(power - Math.round(power)) < 1e-9;
}

function milliseconds(ms: number): string {
  if (ms >= 1_000) return `${ms / 1_000} s`;
  return ms < 0.1 ? `${Number((ms * 1_000).toFixed(0))} µs` : `${Number(ms.toFixed(1))} ms`;
}

/** What is beyond the limit lies on another ground. */
function shadeBeyond(u: uPlot, limitMs: number, color: string): void {
  const { left, top, width, height } = u.bbox;
  const y = Math.min(top + height, Math.max(top, u.valToPos(limitMs, "y", true)));
  u.ctx.save();
  u.ctx.fillStyle = color;
  u.ctx.fillRect(left, top, width, y - top);
  u.ctx.restore();
}

function drawLimit(u: uPlot, limitMs: number, color: string): void {
  const { left, width } = u.bbox;
  const y = Math.round(u.valToPos(limitMs, "y", true));
  u.ctx.save();
  u.ctx.strokeStyle = color;
  u.ctx.lineWidth = devicePixelRatio;
  u.ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  line(u.ctx, left, y, left + width, y);
  u.ctx.restore();
}

function drawMarkers(u: uPlot, markers: readonly Marker[], color: string, font: string): void {
  const { left, top, width, height } = u.bbox;
  u.ctx.save();
  u.ctx.strokeStyle = color;
  u.ctx.fillStyle = color;
  u.ctx.lineWidth = devicePixelRatio;
  u.ctx.font = font.replace("11px", `${10 * devicePixelRatio}px`);
  u.ctx.textBaseline = "bottom";
  let free = left - 1;
  for (const { at, text } of markers) {
    const x = Math.round(u.valToPos(at, "x", true));
    if (x < left || x > left + width) continue;
    line(u.ctx, x, top, x, top + height);
    const size = u.ctx.measureText(text).width;
    if (x <= free || x + size > left + width) continue; // no room for its word; the line says that there is one
    u.ctx.fillText(text, x, top - devicePixelRatio);
    free = x + size + 4 * devicePixelRatio;
  }
  u.ctx.restore();
}

function line(context: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}
