// Which insight is shown large and which are listed. Pure; used by the insights page.

import type { InsightEvent } from "@lanecast/client/react";
import type { DecisionsById } from "../decisions.ts";

export interface Arranged {
  /** The newest that is not decided, critical ones before others; null: there is nothing to decide. */
  readonly hero: InsightEvent | null;
  /** All, newest first. */
  readonly all: readonly InsightEvent[];
  readonly open: number;
}

/** Puts insights in order, each once: what the device has kept, what was recovered and what is live may overlap. */
export function arrange(insights: readonly InsightEvent[], decisions: DecisionsById): Arranged {
  const all = newestFirst(insights);
  const open = all.filter(({ id }) => !Object.hasOwn(decisions, id));
  const hero = open.find(({ lane }) => lane === "CRITICAL") ?? open[0] ?? null;
  return { hero, all, open: open.length };
}

/** Newest first, each id once; of two with one id, the one that came later counts. */
export function newestFirst<E extends Pick<InsightEvent, "id" | "epoch" | "offset" | "createTime">>(
  events: readonly E[],
): E[] {
  const byId = new Map<string, E>();
  for (const event of events) byId.set(event.id, event);
  return [...byId.values()].sort(newerFirst);
}

/** Within an epoch the log's order counts, between epochs the publishers' clocks. */
function newerFirst(
  a: Pick<InsightEvent, "epoch" | "offset" | "createTime">,
  b: Pick<InsightEvent, "epoch" | "offset" | "createTime">,
): number {
  if (a.epoch === b.epoch) return a.offset === b.offset ? 0 : a.offset < b.offset ? 1 : -1;
  return (b.createTime?.getTime() ?? 0) - (a.createTime?.getTime() ?? 0);
}

/**
 * What to show large. Whoever is about to touch an insight keeps it: another one must not slip under the finger. It
 * gives way when it is decided, or when nobody is at it.
 */
export function settle<E extends { readonly id: string }>(
  shown: E | null,
  next: E | null,
  engaged: boolean,
  decisions: DecisionsById,
): E | null {
  const keeps = shown !== null && engaged && !Object.hasOwn(decisions, shown.id);
  return keeps ? shown : next;
}

/** Text in parts, those that carried the classification marked. */
export function marked(text: string, terms: readonly string[]): { text: string; strong: boolean }[] {
  const wanted = terms.filter((term) => term.trim() !== "").map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (wanted.length === 0) return [{ text, strong: false }];
  // Longer terms first: `any more` is one mark, not `any` and `more`.
  wanted.sort((a, b) => b.length - a.length);
  return text
    .split(new RegExp(`(?<!\\w)(${wanted.join("|")})(?!\\w)`, "i"))
    .map((part, index) => ({ text: part, strong: index % 2 === 1 }))
    .filter((part) => part.text !== "");
}
