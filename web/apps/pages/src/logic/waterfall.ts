// A SHAP explanation as a waterfall that builds up: base value and prediction stand from the start, rows come one by one,
// and what they do not explain yet is one bar. So it adds up at every moment. Pure; the bars themselves are the SDK's.

import type { AiEvents } from "@lanecast/client";
import { OTHER_FEATURES, waterfall as sdkWaterfall } from "@lanecast/client/react";

type ShapExplanation = AiEvents["lanecast.ai.v1.ShapExplanation"];

export type RowKind = "feature" | "other" | "remaining";

export interface Row {
  readonly key: string;
  readonly kind: RowKind;
  readonly name: string;
  readonly value: string;
  readonly contribution: number;
  /** Where the bar begins and ends, in the explanation's unit. */
  readonly from: number;
  readonly to: number;
}

export interface Waterfall {
  readonly base: number;
  readonly prediction: number;
  /** Greatest first; features beyond the tenth are one row. */
  readonly rows: readonly Row[];
  /** Least and greatest value that any moment of the build-up reaches. */
  readonly low: number;
  readonly high: number;
}

/** Lays out an explanation; null where its numbers are not finite, so that it cannot be drawn. */
export function layOut(explanation: ShapExplanation): Waterfall | null {
  const base = Number(explanation.baseValue ?? 0);
  const prediction = Number(explanation.prediction ?? 0);
  const bars = sdkWaterfall(explanation);
  if (![base, prediction, ...bars.map(({ to }) => to)].every(Number.isFinite)) return null;
  const listed = explanation.contributions?.length ?? 0;
  const rows = bars.map((bar, index): Row => {
    const last = index === bars.length - 1;
    const other = last && bar.feature === OTHER_FEATURES;
    return {
      ...bar,
      key: `${index}`,
      kind: other ? "other" : "feature",
      name: other ? otherName(listed - index) : bar.feature,
      // Sums of doubles may miss the prediction by their rounding; the drawing ends where it should.
      to: last ? prediction : bar.to,
    };
  });
  const ends = [base, prediction, ...rows.map(({ to }) => to)];
  return { base, prediction, rows, low: Math.min(...ends), high: Math.max(...ends) };
}

/** The first `shown` rows, and a bar for what they leave to the prediction. */
export function buildUp({ base, prediction, rows }: Waterfall, shown: number): Row[] {
  if (shown >= rows.length) return [...rows];
  const visible = rows.slice(0, Math.max(0, shown));
  const from = visible.at(-1)?.to ?? base;
  const hidden = rows.length - visible.length;
  return [
    ...visible,
    {
      key: "remaining",
      kind: "remaining",
      name: `remaining, ${hidden} to come`,
      value: "",
      contribution: prediction - from,
      from,
      to: prediction,
    },
  ];
}

/** Where a value lies between the ends, 0 to 100. */
export function scale({ low, high }: Pick<Waterfall, "low" | "high">): (value: number) => number {
  const span = high - low;
  return (value) => (span > 0 ? ((value - low) / span) * 100 : 50);
}

/**
 * Which explanation to show while the newest is followed: a reader gets time with each. `since` is when the one shown
 * appeared; both in milliseconds.
 */
export function isDue(shown: string | null, newest: string | null, since: number, now: number, dwell: number): boolean {
  if (newest === null || newest === shown) return false;
  return shown === null || now - since >= dwell;
}

function otherName(count: number): string {
  if (count <= 0) return "not listed";
  return `${count} other ${count === 1 ? "feature" : "features"}`;
}
