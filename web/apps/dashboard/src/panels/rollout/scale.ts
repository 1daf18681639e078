// Where a rule's figure lies against its limit, on one scale for all rules. Pure arithmetic.

import { name } from "../../data/protojson.ts";
import type { RuleResultJson } from "../../data/types.ts";
import { duration } from "../../format.ts";

/** Everything below an eighth or above eight times the limit is drawn at the edge. */
export const DOUBLINGS = 3;

export interface Placed {
  /** 0 to 1, the limit at 0.5; the right half is the harmful one. */
  readonly low: number;
  readonly value: number;
  readonly high: number;
}

export interface RuleParts {
  readonly kind: string;
  readonly lane: string;
  readonly quantile: string;
}

/** `ratio/HIGH/p99` in its parts. */
export function parts(rule: string): RuleParts {
  const [kind = "", lane = "", quantile = ""] = rule.split("/");
  return { kind, lane, quantile };
}

/** Places the interval of a rule; null where it has none to draw. */
export function place(result: RuleResultJson): Placed | null {
  const { kind } = parts(result.rule);
  if (!(result.high > 0) || name(result.verdict, "VERDICT_") === "NO_DATA") return null;
  if (kind === "slo") {
    // Shares: what counts is the share that misses, against the share that may.
    const allowed = 1 - result.limit;
    if (allowed <= 0) return null;
    return {
      low: at((1 - result.high) / allowed),
      value: at((1 - result.value) / allowed),
      high: at((1 - result.low) / allowed),
    };
  }
  if (!["ratio", "recent", "interference", "benefit", "rate", "limit"].includes(kind) || result.limit <= 0) return null;
  const share = (value: number) => at(value / result.limit);
  if (kind !== "rate") return { low: share(result.low), value: share(result.value), high: share(result.high) };
  // A rate harms where it is too low.
  return { low: 1 - share(result.high), value: 1 - share(result.value), high: 1 - share(result.low) };
}

function at(ratio: number): number {
  const doublings = Math.log2(Math.max(ratio, 1e-9));
  return 0.5 + Math.min(DOUBLINGS, Math.max(-DOUBLINGS, doublings)) / (2 * DOUBLINGS);
}

/** Writes the figure of a rule in the unit of its kind. */
export function figureOf(result: RuleResultJson, value: number): string {
  const { kind } = parts(result.rule);
  if (kind === "slo") return `${(value * 100).toFixed(value > 0.99 ? 2 : 1)} %`;
  if (kind === "limit") return duration(value * 1_000);
  if (kind === "invariant" || kind === "dropped") return Math.round(value).toLocaleString("en");
  return `${value.toFixed(value < 0.1 ? 3 : 2)}×`;
}
