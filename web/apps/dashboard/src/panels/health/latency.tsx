// When did it start: the latency of each lane over time, four charts on one scale with one cursor.

import { LANES, type Lane } from "@lanecast/client";
import { Store, useStore } from "@lanecast/shared/store";
import { theme } from "@lanecast/shared/theme";
import { memo, useEffect, useMemo, useRef, useState } from "react";
import type uPlot from "uplot";
import { type Notice, Panel } from "../../components/panel.tsx";
import { Shape } from "../../components/shape.tsx";
import { get } from "../../data/api.ts";
import { inFrame } from "../../data/frames.ts";
import { Resource, useResource } from "../../data/resource.ts";
import type { HistoryJson } from "../../data/types.ts";
import { budget, duration } from "../../format.ts";
import { LANE_INFO } from "../../lanes.ts";
import type { Live } from "../../live.ts";
import { moment } from "../../words.ts";
import { makeChart } from "./chart.ts";
import { useMarkers } from "./markers.ts";
import { began, type Columns, columnsOf, decades, type Marker } from "./series.ts";
import "uplot/dist/uPlot.min.css";

const RANGES = [
  { id: "2m", label: "2 min", everyMs: 2_000 },
  { id: "10m", label: "10 min", everyMs: 5_000 },
  { id: "1h", label: "1 h", everyMs: 20_000 },
  { id: "24h", label: "24 h", everyMs: 60_000 },
  { id: "30d", label: "30 d", everyMs: 300_000 },
] as const;
type Range = (typeof RANGES)[number]["id"];

const TABLE = [
  { key: "time", label: "time" },
  ...LANE_INFO.flatMap(({ lane, label }) => [
    { key: `${lane}50`, label: `${label} p50 ms`, numeric: true },
    { key: `${lane}99`, label: `${label} p99 ms`, numeric: true },
  ]),
];

/** The index under the shared cursor, for the readings above all four charts. */
const cursor = new Store<number | null>(null);

export function LatencyPanel({ live }: { live: Live }) {
  const [range, setRange] = useState<Range>("2m");
  const resource = useMemo(() => {
    const everyMs = RANGES.find(({ id }) => id === range)?.everyMs ?? 5_000;
    return new Resource((signal) => get<HistoryJson>(`/history?window=${range}`, signal), everyMs);
  }, [range]);
  const { data, problem } = useResource(resource);
  const columns = useMemo(() => (data ? columnsOf(data) : null), [data]);
  const markers = useMarkers(live);
  const limits = useLimits(live);
  const span = useMemo(
    () => (columns ? decades(columns, limits) : ([0.1, 100] as [number, number])),
    [columns, limits],
  );
  return (
    <Panel
      title="Latency over time"
      question="When did it start? From acceptance until the gateway has written it; solid p99, dotted p50, dashed limit"
      notice={noticeOf(columns, problem)}
      table={{ file: `latency-${range}`, columns: TABLE, rows: columns ? rowsOf(columns) : [] }}
      actions={<RangePicker range={range} onChange={setRange} />}
    >
      <div className="charts">
        {LANES.map((lane, index) => (
          <LaneChart
            key={lane}
            lane={lane}
            columns={columns}
            limit={limits[index] ?? 1}
            span={span}
            markers={markers}
          />
        ))}
      </div>
    </Panel>
  );
}

/** The limits as the service has them; the same array while they are the same. */
function useLimits(live: Live): readonly number[] {
  const { lanes } = useStore(live.metrics.snapshot);
  const text = LANE_INFO.map(({ lane, budgetMs }) => lanes[lane].budgetMs || budgetMs).join(" ");
  return useMemo(() => text.split(" ").map(Number), [text]);
}

function RangePicker({ range, onChange }: { range: Range; onChange: (range: Range) => void }) {
  return (
    <fieldset className="segments">
      <legend className="visually-hidden">Range of time</legend>
      {RANGES.map(({ id, label }) => (
        <label key={id}>
          <input type="radio" name="range" checked={range === id} onChange={() => onChange(id)} />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}

interface LaneChartProps {
  readonly lane: Lane;
  readonly columns: Columns | null;
  readonly limit: number;
  readonly span: [number, number];
  readonly markers: readonly Marker[];
}

const LaneChart = memo(function LaneChart({ lane, columns, limit, span, markers }: LaneChartProps) {
  const target = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const drawn = useRef({ span, markers });
  drawn.current = { span, markers };
  const label = LANE_INFO.find((info) => info.lane === lane)?.label ?? lane;

  useEffect(() => {
    const element = target.current;
    if (!element) return;
    const made = makeChart(element, {
      limitMs: limit,
      range: () => drawn.current.span,
      markers: () => drawn.current.markers,
      onCursor: (index) => inFrame(cursor, () => cursor.set(index)),
    });
    chart.current = made;
    const sizes = new ResizeObserver(() => {
      made.setSize({ width: Math.max(120, element.clientWidth), height: made.height });
    });
    sizes.observe(element);
    const repaint = () => requestAnimationFrame(() => made.redraw(false));
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", repaint);
    const stopTheme = theme.subscribe(repaint);
    return () => {
      sizes.disconnect();
      scheme.removeEventListener("change", repaint);
      stopTheme();
      made.destroy();
      chart.current = null;
    };
  }, [limit]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new scale, mark or limit is drawn, too
  useEffect(() => {
    if (columns && chart.current) {
      chart.current.setData([[...columns.times], [...columns.p50[lane]], [...columns.p99[lane]]]);
    }
  }, [columns, lane, span, markers, limit]);

  return (
    <figure className="chart" data-lane={lane}>
      <figcaption>
        <Shape lane={lane} /> <strong>{label}</strong> <span className="muted">limit {budget(limit)}</span>
        <Reading lane={lane} columns={columns} limit={limit} />
      </figcaption>
      <div ref={target} role="img" aria-label={summary(label, lane, columns, limit)} />
    </figure>
  );
});

/** The values under the cursor, or the newest. */
function Reading({ lane, columns, limit }: { lane: Lane; columns: Columns | null; limit: number }) {
  const under = useStore(cursor);
  if (!columns) return null;
  const newest = columns.p99[lane].findLastIndex((ms) => ms !== null);
  const index = under ?? newest;
  const p50 = columns.p50[lane][index];
  const p99 = columns.p99[lane][index];
  const at = columns.times[index];
  return (
    <span className="reading figure">
      <span className="muted">{under === null || at === undefined ? "now" : moment(at * 1_000)}</span>{" "}
      {p50 == null || p99 == null ? (
        "nothing"
      ) : (
        <>
          {duration(p50)} <span className="muted">/</span> <strong data-over={p99 > limit}>{duration(p99)}</strong>
        </>
      )}
    </span>
  );
}

function summary(label: string, lane: Lane, columns: Columns | null, limit: number): string {
  if (!columns) return `${label}: no figures yet`;
  const start = began(columns.times, columns.p99[lane], limit);
  if (start !== null) return `${label}: p99 over its limit of ${budget(limit)} since ${moment(start * 1_000)}`;
  return `${label}: p99 within its limit of ${budget(limit)} at the end of the time shown`;
}

function noticeOf(columns: Columns | null, problem: string | null): Notice | null {
  if (problem) return { kind: columns ? "stale" : "error", text: `${problem}.` };
  if (columns === null) return { kind: "loading", text: "Asking for the history." };
  const any = LANES.some((lane) => columns.p99[lane].some((ms) => ms !== null));
  return any
    ? null
    : { kind: "empty", text: "Nothing was delivered in this time. Choose a longer one, or start lanecast demo." };
}

function rowsOf(columns: Columns) {
  return columns.times.map((second, index) => {
    const cells = LANES.flatMap((lane) => [
      [`${lane}50`, cell(columns.p50[lane][index])],
      [`${lane}99`, cell(columns.p99[lane][index])],
    ]);
    const time = second * 1_000;
    return { time: { value: new Date(time).toISOString(), text: moment(time) }, ...Object.fromEntries(cells) };
  });
}

function cell(ms: number | null | undefined) {
  return { value: ms == null ? null : Number(ms.toFixed(4)) };
}
