// Turns the history of the service into columns for charts. Pure.

import type { Lane } from "@lanecast/client";
import { name } from "../../data/protojson.ts";
import type { HistoryJson } from "../../data/types.ts";
import { perLane } from "../../feed.ts";

export interface Columns {
  /** Seconds since the Unix epoch, oldest first. */
  readonly times: readonly number[];
  /** Milliseconds; null where nothing was delivered. */
  readonly p50: Readonly<Record<Lane, readonly (number | null)[]>>;
  readonly p99: Readonly<Record<Lane, readonly (number | null)[]>>;
}

export function columnsOf(history: HistoryJson): Columns {
  const times = history.points.map(({ startTime }) => Date.parse(startTime) / 1_000);
  const column = (lane: Lane, key: "p50Seconds" | "p99Seconds") =>
    history.points.map(({ figures }) => {
      const figure = figures.find((one) => name(one.lane, "PRIORITY_") === lane);
      return figure && Number(figure.count) > 0 ? figure[key] * 1_000 : null;
    });
  return {
    times,
    p50: perLane((lane) => column(lane, "p50Seconds")),
    p99: perLane((lane) => column(lane, "p99Seconds")),
  };
}

/** One scale for all lanes, in whole decades, so that they can be compared by eye. */
export function decades(columns: Columns, limits: readonly number[]): [low: number, high: number] {
  const values = [...Object.values(columns.p50), ...Object.values(columns.p99)].flat().filter((ms) => ms !== null);
  const all = [...values.filter((ms) => ms > 0), ...limits.filter((ms) => ms > 0)];
  if (all.length === 0) return [0.1, 100];
  return [10 ** Math.floor(Math.log10(Math.min(...all))), 10 ** Math.ceil(Math.log10(Math.max(...all)))];
}

export interface Marker {
  /** Seconds since the Unix epoch. */
  readonly at: number;
  readonly text: string;
}

/** When each lane went over its limit for the first time after it had kept it; null where it did not. */
export function began(times: readonly number[], p99: readonly (number | null)[], limit: number): number | null {
  let start: number | null = null;
  p99.forEach((ms, index) => {
    if (ms === null) return;
    if (ms <= limit) start = null;
    else start ??= times[index] ?? null;
  });
  return start;
}
