// What each rule says of the two arms: its figure with its interval, against its limit.

import type { Column, TableRow } from "../../components/data-table.tsx";
import { Panel } from "../../components/panel.tsx";
import { name } from "../../data/protojson.ts";
import type { RolloutJson, RuleResultJson } from "../../data/types.ts";
import { words } from "../../words.ts";
import { figureOf, parts, place } from "./scale.ts";
import { VerdictMark } from "./state-mark.tsx";

const COLUMNS: readonly Column[] = [
  { key: "rule", label: "rule" },
  { key: "verdict", label: "verdict" },
  { key: "value", label: "value", numeric: true },
  { key: "low", label: "low", numeric: true },
  { key: "high", label: "high", numeric: true },
  { key: "limit", label: "limit", numeric: true },
  { key: "control", label: "control samples", numeric: true },
  { key: "candidate", label: "candidate samples", numeric: true },
  { key: "text", label: "in words" },
];

const RANK: Readonly<Record<string, number>> = { FAIL: 0, ERROR: 1, INCONCLUSIVE: 2, NO_DATA: 3, PASS: 4 };

const verdictOf = (result: RuleResultJson) => name(result.verdict, "VERDICT_");

export function Rules({ rollout }: { rollout: RolloutJson }) {
  const results = [...rollout.results].sort(
    (a, b) => (RANK[verdictOf(a)] ?? 5) - (RANK[verdictOf(b)] ?? 5) || a.rule.localeCompare(b.rule),
  );
  const empty = {
    kind: "empty",
    text: "No look yet: rules are judged once channels are on the new policy.",
  } as const;
  const failing = results.filter((result) => verdictOf(result) === "FAIL").length;
  const passing = results.filter((result) => verdictOf(result) === "PASS").length;
  return (
    <Panel
      title="Rules"
      question="Is the new policy safe? New against control, with the interval of what the samples can say"
      notice={results.length === 0 ? empty : null}
      table={{ file: `rollout-${rollout.id}-rules`, columns: COLUMNS, rows: results.map(rowOf) }}
    >
      <p className="rule-summary">
        {failing > 0 ? `${failing} fail, ` : ""}
        {passing} of {results.length} pass
      </p>
      <div className="rule-scale" aria-hidden="true">
        <span>harmless</span>
        <span>limit</span>
        <span>harmful</span>
      </div>
      <ul className="rules">
        {results.map((result) => (
          <Rule key={result.rule} result={result} />
        ))}
      </ul>
    </Panel>
  );
}

function rowOf(result: RuleResultJson): TableRow {
  return {
    rule: { value: result.rule },
    verdict: { value: words(verdictOf(result)) },
    value: { value: result.value, text: figureOf(result, result.value) },
    low: { value: result.low, text: figureOf(result, result.low) },
    high: { value: result.high, text: figureOf(result, result.high) },
    limit: { value: result.limit, text: figureOf(result, result.limit) },
    control: { value: Number(result.controlSamples), text: Number(result.controlSamples).toLocaleString("en") },
    candidate: { value: Number(result.candidateSamples), text: Number(result.candidateSamples).toLocaleString("en") },
    text: { value: result.text },
  };
}

function Rule({ result }: { result: RuleResultJson }) {
  const { kind, lane, quantile } = parts(result.rule);
  const placed = place(result);
  return (
    <li data-verdict={verdictOf(result)} title={result.text}>
      <span className="rule-name">
        {kind} <span className="muted">{words([lane, quantile].filter(Boolean).join(" "))}</span>
        {result.guardOnly && <span className="tag quiet">guard</span>}
      </span>
      <VerdictMark verdict={verdictOf(result)} />
      {placed ? (
        <span className="forest" aria-hidden="true">
          <span
            className="reach"
            style={{ left: `${placed.low * 100}%`, width: `${(placed.high - placed.low) * 100}%` }}
          />
          <span className="point" style={{ left: `${placed.value * 100}%` }} />
        </span>
      ) : (
        <span className="rule-text">{result.text}</span>
      )}
      <span className="rule-figure figure">
        {placed && (
          <>
            {figureOf(result, result.value)}{" "}
            <span className="muted">
              {figureOf(result, result.low)}–{figureOf(result, result.high)}
            </span>
          </>
        )}
      </span>
      {placed && <span className="visually-hidden">{result.text}</span>}
    </li>
  );
}
