// Both arms side by side: the latency of each lane on the old and on the new policy, over the last minute.

import { LANES, type Lane } from "@lanecast/client";
import type { Column, TableRow } from "../../components/data-table.tsx";
import { DataTable } from "../../components/data-table.tsx";
import { type Notice, Panel } from "../../components/panel.tsx";
import { get } from "../../data/api.ts";
import { Resource, useResource } from "../../data/resource.ts";
import type { RolloutJson } from "../../data/types.ts";
import { duration, number } from "../../format.ts";
import { type LaneFigures, type Quantiles, readFigures, type WatchMetricsJson } from "../../metrics.ts";
import { words } from "../../words.ts";

type ArmFigures = Readonly<Record<Lane, LaneFigures>>;

const ARMS = new Resource<{ baseline: ArmFigures; candidate: ArmFigures }>(async (signal) => {
  const ask = (arm: string) =>
    get<NonNullable<WatchMetricsJson["latency"]>>(`/latency-metrics?window=60s&arm=${arm}`, signal);
  const [baseline, candidate] = await Promise.all([ask("baseline"), ask("candidate")]);
  return { baseline: readFigures({ latency: baseline }), candidate: readFigures({ latency: candidate }) };
}, 3_000);

const COLUMNS: readonly Column[] = [
  { key: "lane", label: "lane" },
  { key: "basis50", label: "old p50", numeric: true },
  { key: "new50", label: "new p50", numeric: true },
  { key: "basis99", label: "old p99", numeric: true },
  { key: "new99", label: "new p99", numeric: true },
  { key: "change", label: "p99 new / old", numeric: true },
  { key: "basisCount", label: "old samples", numeric: true },
  { key: "newCount", label: "new samples", numeric: true },
];

export function Arms({ rollout }: { rollout: RolloutJson }) {
  const { data, problem } = useResource(ARMS);
  const rows = data
    ? LANES.flatMap((lane) => rowOf(lane, data.baseline[lane].server, data.candidate[lane].server))
    : [];
  return (
    <Panel
      title="Both arms"
      question={`How fast is ${rollout.plan.candidatePolicy} beside ${rollout.plan.baselinePolicy}? Last minute, at the server`}
      notice={noticeOf(data !== null, rows.length, problem)}
      table={{ file: `rollout-${rollout.id}-arms`, columns: COLUMNS, rows }}
    >
      <DataTable caption="Both arms" columns={COLUMNS.slice(0, 6)} rows={rows} />
    </Panel>
  );
}

function noticeOf(loaded: boolean, rows: number, problem: string | null): Notice | null {
  if (problem) return { kind: loaded ? "stale" : "error", text: `${problem}.` };
  if (!loaded) return { kind: "loading", text: "Asking for both arms." };
  if (rows === 0)
    return { kind: "empty", text: "No deliveries in either arm: they appear while a rollout is under way." };
  return null;
}

function rowOf(lane: Lane, basis: Quantiles | null, candidate: Quantiles | null): TableRow[] {
  if (basis === null && candidate === null) return [];
  const ms = (value: number | undefined) =>
    value === undefined ? { value: null } : { value: number(value.toFixed(4)), text: duration(value) };
  const change = basis && candidate && basis.p99 > 0 ? candidate.p99 / basis.p99 : null;
  return [
    {
      lane: { value: words(lane) },
      basis50: ms(basis?.p50),
      new50: ms(candidate?.p50),
      basis99: ms(basis?.p99),
      new99: ms(candidate?.p99),
      change: change === null ? { value: null } : { value: number(change.toFixed(4)), text: `${change.toFixed(2)}×` },
      basisCount: { value: basis?.count ?? 0 },
      newCount: { value: candidate?.count ?? 0 },
    },
  ];
}
