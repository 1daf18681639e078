// A SHAP explanation as a waterfall: from the mean prediction, feature by feature, to this one. It always adds up: what
// is not shown is in a row of its own.

import type { AiEvents } from "@lanecast/client";
import { amount, number } from "../../format.ts";

type Data = AiEvents["lanecast.ai.v1.ShapExplanation"];

const SHOWN = 5;

interface Step {
  readonly name: string;
  readonly value: string;
  readonly change: number;
  /** Where the bar starts and ends, in the explanation's unit. */
  readonly from: number;
  readonly to: number;
}

/** Lays out the steps, greatest first; the last one holds everything that is not listed. */
export function waterfall(data: Data): Step[] {
  const features = [...(data.contributions ?? [])]
    .map(({ feature, displayValue, contribution }) => ({
      name: feature ?? "",
      value: displayValue ?? "",
      change: number(contribution),
    }))
    .sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
  const hidden = features.slice(SHOWN);
  const rest = hidden.reduce((sum, { change }) => sum + change, 0) + number(data.remainingContribution);
  const rows = features.slice(0, SHOWN);
  if (hidden.length > 0 || rest !== 0) {
    const count = hidden.length > 0 ? `${hidden.length} ` : "";
    rows.push({ name: `${count}other features`, value: "", change: rest });
  }
  let at = number(data.baseValue);
  return rows.map((row) => {
    const from = at;
    at += row.change;
    return { ...row, from, to: at };
  });
}

export function Explanation({ data }: { data: Data }) {
  const unit = data.unit ?? "";
  const base = number(data.baseValue);
  const prediction = number(data.prediction);
  const steps = waterfall(data);
  const ends = [base, prediction, ...steps.map(({ to }) => to)];
  const low = Math.min(...ends);
  const span = Math.max(...ends) - low || 1;
  const at = (value: number) => ((value - low) / span) * 100;
  return (
    <div className="body">
      <p className="headline">
        {data.subject || data.predictionId}: {data.target || "prediction"} {amount(prediction, unit)}
      </p>
      <p className="muted">
        mean {amount(base, unit)} → this one {amount(prediction, unit)}
        {data.observed !== undefined && ` · observed ${amount(number(data.observed), unit)}`}
      </p>
      <ol className="waterfall">
        {steps.map((step) => (
          <li key={step.name} data-sign={step.change < 0 ? "down" : "up"}>
            <span className="feature">
              {step.name}
              {step.value && <span className="muted"> {step.value}</span>}
            </span>
            <span className="track" aria-hidden="true">
              <span
                style={{
                  left: `${Math.min(at(step.from), at(step.to))}%`,
                  width: `${Math.abs(at(step.to) - at(step.from))}%`,
                }}
              />
            </span>
            <span className="change">
              <span aria-hidden="true">{step.change < 0 ? "▼" : "▲"}</span> {amount(step.change, unit, true)}
            </span>
          </li>
        ))}
      </ol>
    </div>
  );
}
