// The drawing of a waterfall, and the same as a table. Direction is told by arrow, sign and the bar's pointed end, not by
// colour alone.

import type { CSSProperties } from "react";
import { amount } from "../format.ts";
import { type Row, scale, type Waterfall } from "../logic/waterfall.ts";

export function WaterfallChart({ plan, rows, unit }: { plan: Waterfall; rows: readonly Row[]; unit: string }) {
  const at = scale(plan);
  const base = at(plan.base);
  const goal = at(plan.prediction);
  return (
    <ol
      className="waterfall"
      data-testid="waterfall"
      style={{ "--rows": plan.rows.length + 2 } as CSSProperties}
      data-base={plan.base}
      data-prediction={plan.prediction}
      data-complete={rows.at(-1)?.kind !== "remaining"}
    >
      <Anchor name="Base value" note="mean" value={amount(plan.base, unit)} at={base} goal={goal} kind="base" />
      {rows.map((row) => (
        <Bar key={row.key} row={row} unit={unit} at={at} base={base} goal={goal} />
      ))}
      <Anchor name="f(x)" note="prediction" value={amount(plan.prediction, unit)} at={base} goal={goal} kind="goal" />
    </ol>
  );
}

function Anchor({
  name,
  note,
  value,
  at,
  goal,
  kind,
}: {
  name: string;
  note: string;
  value: string;
  at: number;
  goal: number;
  kind: "base" | "goal";
}) {
  return (
    <li className="anchor" data-kind={kind}>
      <span className="feature">
        {name} <span className="muted">{note}</span>
      </span>
      <Track base={at} goal={goal}>
        <span className="point" data-kind={kind} style={{ left: `${kind === "base" ? at : goal}%` }} />
      </Track>
      <span className="change">{value}</span>
    </li>
  );
}

function Bar({
  row,
  unit,
  at,
  base,
  goal,
}: {
  row: Row;
  unit: string;
  at: (value: number) => number;
  base: number;
  goal: number;
}) {
  const from = at(row.from);
  const to = at(row.to);
  const sign = row.contribution < 0 ? "down" : "up";
  return (
    <li
      data-kind={row.kind}
      data-sign={sign}
      data-from={row.from}
      data-to={row.to}
      data-contribution={row.contribution}
      data-testid="bar"
    >
      <span className="feature">
        {row.name} {row.value && <span className="muted">{row.value}</span>}
      </span>
      <Track base={base} goal={goal}>
        <span className="bar" style={{ left: `${Math.min(from, to)}%`, width: `${Math.abs(to - from)}%` }} />
        <span className="joint" style={{ left: `${to}%` }} />
      </Track>
      <span className="change">
        <span aria-hidden="true">{sign === "down" ? "▼" : "▲"}</span> {amount(row.contribution, unit, true)}
      </span>
    </li>
  );
}

function Track({ base, goal, children }: { base: number; goal: number; children: React.ReactNode }) {
  return (
    <span className="track" aria-hidden="true">
      <span className="line" data-kind="base" style={{ left: `${base}%` }} />
      <span className="line" data-kind="goal" style={{ left: `${goal}%` }} />
      {children}
    </span>
  );
}

export function WaterfallTable({ plan, unit, target }: { plan: Waterfall; unit: string; target: string }) {
  return (
    <div className="table-wrap">
      <table data-testid="waterfall-table">
        <caption className="visually-hidden">From the base value to the {target}, greatest contribution first</caption>
        <thead>
          <tr>
            <th scope="col">Feature</th>
            <th scope="col">Value</th>
            <th scope="col" className="figure">
              Contribution
            </th>
            <th scope="col" className="figure">
              Running sum
            </th>
          </tr>
        </thead>
        <tbody>
          <tr>
            <th scope="row">Base value</th>
            <td>mean of all</td>
            <td className="figure" />
            <td className="figure">{amount(plan.base, unit)}</td>
          </tr>
          {plan.rows.map((row) => (
            <tr key={row.key}>
              <th scope="row">{row.name}</th>
              <td>{row.value}</td>
              <td className="figure">{amount(row.contribution, unit, true)}</td>
              <td className="figure">{amount(row.to, unit)}</td>
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <th scope="row">f(x)</th>
            <td>{target}</td>
            <td className="figure">{amount(plan.prediction - plan.base, unit, true)}</td>
            <td className="figure">{amount(plan.prediction, unit)}</td>
          </tr>
        </tfoot>
      </table>
    </div>
  );
}
