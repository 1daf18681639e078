// Both arms side by side, lane by lane: what the newest look found of the new policy against the old one, each figure with
// the interval that the samples leave.

import { type Column, DataTable, type TableRow } from "../../components/data-table.tsx";
import { Panel } from "../../components/panel.tsx";
import { name } from "../../data/protojson.ts";
import type { RolloutJson, RuleResultJson } from "../../data/types.ts";
import { words } from "../../words.ts";
import { figureOf, parts } from "./scale.ts";

const COLUMNS: readonly Column[] = [
  { key: "lane", label: "lane" },
  { key: "old", label: "samples, old", numeric: true },
  { key: "new", label: "samples, new", numeric: true },
  { key: "p95", label: "p95, new / old", numeric: true },
  { key: "p99", label: "p99, new / old", numeric: true },
  { key: "new_time", label: "new, absolute", numeric: true },
  { key: "slo", label: "new in its limit", numeric: true },
];

export function Arms({ rollout }: { rollout: RolloutJson }) {
  const rows = lanesOf(rollout.results).map((lane) => rowOf(lane, rollout.results));
  const { baselinePolicy: old, candidatePolicy: fresh } = rollout.plan;
  return (
    <Panel
      title="Both arms"
      question={`How does ${fresh} do beside ${old}? New is ${fresh}, old a control as large; in brackets the interval`}
      notice={
        rows.length === 0 ? { kind: "empty", text: "No look at both arms yet: they are compared from 10 % on." } : null
      }
      table={{ file: `rollout-${rollout.id}-arms`, columns: COLUMNS, rows }}
    >
      <DataTable caption="Both arms" columns={COLUMNS} rows={rows} />
    </Panel>
  );
}

/** The lanes that rules name, in the order of their urgency. */
export function lanesOf(results: readonly RuleResultJson[]): string[] {
  const named = new Set(results.filter(({ rule }) => rule.startsWith("ratio/")).map(({ rule }) => parts(rule).lane));
  return ["CRITICAL", "HIGH", "NORMAL", "LOW"].filter((lane) => named.has(lane));
}

function rowOf(lane: string, results: readonly RuleResultJson[]): TableRow {
  const find = (rule: string) => results.find((result) => result.rule === rule);
  const ratio = find(`ratio/${lane}/p95`);
  const samples = (text: string | undefined) => ({
    value: Number(text ?? 0),
    text: Number(text ?? 0).toLocaleString("en"),
  });
  return {
    lane: { value: words(lane) },
    old: samples(ratio?.controlSamples),
    new: samples(ratio?.candidateSamples),
    p95: cell(ratio),
    p99: cell(find(`ratio/${lane}/p99`)),
    new_time: absolute(results.find(({ rule }) => rule.startsWith(`limit/${lane}/`))),
    slo: cell(find(`slo/${lane}`)),
  };
}

/** The quantile that the plan's objective asks of the new policy, in milliseconds. */
function absolute(result: RuleResultJson | undefined) {
  const found = cell(result);
  if (found.value === null || !result) return found;
  return {
    value: found.value,
    text: (
      <>
        <span className="muted">{parts(result.rule).quantile}</span> {found.text}
      </>
    ),
  };
}

function cell(result: RuleResultJson | undefined) {
  if (!result || name(result.verdict, "VERDICT_") === "NO_DATA" || !(result.high > 0)) {
    return { value: null, text: "too few" };
  }
  const text = (value: number) => figureOf(result, value);
  return {
    value: result.value,
    text: (
      <>
        {text(result.value)}{" "}
        <span className="muted">
          ({text(result.low)}–{text(result.high)})
        </span>
      </>
    ),
  };
}
