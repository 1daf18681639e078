// Which lane is slow: each lane's median and 99th percentile against its limit, and how fast its error budget is spent.

import type { Lane } from "@lanecast/client";
import { useStore } from "@lanecast/shared/store";
import { Panel } from "../../components/panel.tsx";
import { Shape } from "../../components/shape.tsx";
import { get } from "../../data/api.ts";
import { Resource, useResource } from "../../data/resource.ts";
import type { LaneStatusJson, StatusJson } from "../../data/types.ts";
import { budget, duration, percent } from "../../format.ts";
import { LANE_INFO } from "../../lanes.ts";
import type { Live } from "../../live.ts";
import type { LaneFigures } from "../../metrics.ts";
import { BudgetBar } from "./budget-bar.tsx";
import { figuresNotice } from "./notice.ts";

/** The windows that the stream does not bring: they change slowly. */
const LONG = new Resource(async (signal) => {
  const [hour, month] = await Promise.all([
    get<StatusJson>("/grade?window=1h", signal),
    get<StatusJson>("/grade?window=30d", signal),
  ]);
  return { hour, month };
}, 30_000);

const COLUMNS = [
  { key: "lane", label: "lane" },
  { key: "limit", label: "limit ms", numeric: true },
  { key: "p50", label: "p50 ms", numeric: true },
  { key: "p99", label: "p99 ms", numeric: true },
  { key: "within", label: "in limit", numeric: true },
  { key: "burn5", label: "burn 5 min", numeric: true },
  { key: "burn60", label: "burn 1 h", numeric: true },
  { key: "left", label: "budget left, 30 d", numeric: true },
] as const;

/** How many times as fast as allowed the budget is spent; null without an answer. */
export function burn(status: LaneStatusJson | undefined): number | null {
  if (!status || status.objective >= 1) return null;
  return Math.max(0, (1 - status.goodRatio) / (1 - status.objective));
}

const of = (status: StatusJson | null | undefined, lane: Lane) =>
  status?.lanes.find((one) => one.lane === `PRIORITY_${lane}`);

export function LaneStrip({ live }: { live: Live }) {
  const metrics = useStore(live.metrics.snapshot);
  const status = useStore(live.operations.status);
  const { data: long } = useResource(LONG);
  const lanes = LANE_INFO.map((info) => {
    const figures = metrics.lanes[info.lane];
    const known = figures.server !== null;
    return {
      info,
      figures,
      limit: figures.budgetMs || info.budgetMs,
      now: known ? burn(of(status, info.lane)) : null,
      hour: known ? burn(of(long?.hour, info.lane)) : null,
      left: known ? (of(long?.month, info.lane)?.budgetRemaining ?? null) : null,
    };
  });
  const rows = lanes.map(({ info, figures, limit, now, hour, left }) => ({
    lane: { value: info.label },
    limit: { value: limit },
    p50: cell(figures.server?.p50),
    p99: cell(figures.server?.p99),
    within: {
      value: figures.server ? figures.withinBudget : null,
      text: figures.server ? percent(figures.withinBudget, 2) : "–",
    },
    burn5: cell(now, "×"),
    burn60: cell(hour, "×"),
    left: { value: left, text: left === null ? "–" : percent(left) },
  }));
  return (
    <Panel
      title="Lanes"
      question="Which lane is slow? Last minute, from acceptance until the gateway has written it"
      notice={figuresNotice(
        metrics,
        lanes.some(({ figures }) => figures.server !== null),
      )}
      table={{ file: "lanes", columns: COLUMNS, rows }}
    >
      <ul className="lane-strip">
        {lanes.map((lane) => (
          <LaneTile key={lane.info.lane} {...lane} />
        ))}
      </ul>
    </Panel>
  );
}

function cell(value: number | null | undefined, unit = "") {
  if (value === null || value === undefined) return { value: null };
  return { value: Number(value.toFixed(4)), text: `${value.toFixed(2)}${unit}` };
}

interface TileProps {
  readonly info: (typeof LANE_INFO)[number];
  readonly figures: LaneFigures;
  readonly limit: number;
  readonly now: number | null;
  readonly hour: number | null;
  readonly left: number | null;
}

function LaneTile({ info, figures, limit, now, hour, left }: TileProps) {
  const { server } = figures;
  const state = server === null ? NO_DELIVERIES : server.p99 > limit ? OVER : WITHIN;
  return (
    <li className="strip-lane" data-lane={info.lane} data-tone={state.tone}>
      <p className="strip-title">
        <Shape lane={info.lane} /> <strong>{info.label}</strong>
        <span className="state" data-tone={state.tone}>
          <span aria-hidden="true">{state.mark}</span> {state.word} {budget(limit)}
        </span>
      </p>
      <BudgetBar limit={limit} p50={server?.p50 ?? null} p99={server?.p99 ?? null} label={info.label} />
      <dl className="strip-figures">
        <Figure name="p50" value={shown(server?.p50, duration)} />
        <Figure name="p99" value={shown(server?.p99, duration)} strong={state === OVER} />
        <Figure name="in limit" value={shown(server && figures.withinBudget, (share) => percent(share, 1))} />
        <Figure name="burn 5 min" value={shown(now, times)} strong={exceeds(now, 1)} />
        <Figure name="burn 1 h" value={shown(hour, times)} strong={exceeds(hour, 1)} />
        <Figure name="budget left" value={shown(left, leftOf)} strong={left !== null && left <= 0} />
      </dl>
    </li>
  );
}

const NO_DELIVERIES = { tone: "none", mark: "○", word: "no deliveries, limit" } as const;
const OVER = { tone: "bad", mark: "✕", word: "over" } as const;
const WITHIN = { tone: "good", mark: "✓", word: "within" } as const;

function shown(value: number | null | undefined, write: (value: number) => string): string {
  return value === null || value === undefined ? "–" : write(value);
}

/** What is left of a budget: by how much it is overspent says the table. */
function leftOf(share: number): string {
  return share > 0 ? percent(share) : "none";
}

function exceeds(value: number | null, most: number): boolean {
  return value !== null && value > most;
}

function Figure({ name, value, strong = false }: { name: string; value: string; strong?: boolean }) {
  return (
    <div data-strong={strong}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function times(value: number): string {
  return `${value >= 10 ? Math.round(value).toLocaleString("en") : value.toFixed(1)}×`;
}
