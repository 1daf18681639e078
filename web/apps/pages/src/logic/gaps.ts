// Where in a list something is missing, and what to say of it. Pure.

import type { Gap, Lane } from "@lanecast/client";
import { plural } from "../format.ts";

interface Placed {
  readonly lane: Lane;
  readonly epoch: string;
  readonly offset: bigint;
}

export type Line<E> =
  | { readonly kind: "event"; readonly event: E }
  | { readonly kind: "gap"; readonly gap: Gap; readonly key: string };

/** Puts a line for each gap between the events it lies between. Events are newest first, and so is the result. */
export function withGaps<E extends Placed>(events: readonly E[], gaps: readonly Gap[]): Line<E>[] {
  const lines: Line<E>[] = events.map((event) => ({ kind: "event", event }));
  for (const gap of gaps) {
    const key = `${gap.epoch}:${gap.lane}:${gap.fromOffset}-${gap.toOffset}`;
    lines.splice(placeOf(lines, gap), 0, { kind: "gap", gap, key });
  }
  return lines;
}

function placeOf<E extends Placed>(lines: readonly Line<E>[], gap: Gap): number {
  const older = lines.findIndex(
    (line) =>
      line.kind === "event" &&
      line.event.lane === gap.lane &&
      (line.event.epoch !== gap.epoch || line.event.offset <= gap.fromOffset),
  );
  if (older >= 0) return older;
  const known = lines.some((line) => line.kind === "event" && line.event.lane === gap.lane);
  return known ? lines.length : 0;
}

/** One sentence that says what is missing and why. */
export function gapText(gap: Pick<Gap, "reason" | "count">): string {
  const what = gap.count > 0 ? plural(gap.count, "event") : "Some events";
  const verb = gap.count === 1 ? "is" : "are";
  switch (gap.reason) {
    case "CONFLATED":
      return `${what} ${verb} left out: newer ones replaced them`;
    case "EXPIRED":
      return `${what} ${verb} left out: their time had passed`;
    case "SHED":
      return `${what} ${verb} missing: dropped while this device was too slow`;
    case "TRUNCATED":
      return `${what} ${verb} missing: this device was away longer than they are kept`;
    case "AHEAD":
    case "EPOCH_UNKNOWN":
      return `The log began anew here: what was before may be incomplete`;
    default:
      return `${what} ${verb} missing here`;
  }
}
