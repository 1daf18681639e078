// What the page says about each lane and each stretch of the way. Constants only.

import type { Lane } from "@lanecast/client";

export interface LaneInfo {
  readonly lane: Lane;
  readonly label: string;
  /** The kind of event that travels here in the demonstration. */
  readonly carries: string;
  readonly budgetMs: number;
  /** What happens when a reader is too slow. */
  readonly promise: string;
}

export const LANE_INFO: readonly LaneInfo[] = [
  {
    lane: "CRITICAL",
    label: "Critical",
    carries: "Concierge insights",
    budgetMs: 1,
    promise: "Never dropped, overtakes everything",
  },
  { lane: "HIGH", label: "High", carries: "Bot handoffs", budgetMs: 5, promise: "Never dropped" },
  {
    lane: "NORMAL",
    label: "Normal",
    carries: "SHAP explanations",
    budgetMs: 10,
    promise: "Newest per key for a slow reader",
  },
  {
    lane: "LOW",
    label: "Low",
    carries: "Strategy recommendations",
    budgetMs: 50,
    promise: "First to give way, every loss named",
  },
];

/** Everything a hop of the metrics may be called, in the order of the way. */
export const ALL_HOPS = [
  "sdk_queue",
  "ingest",
  "log",
  "lane_wait",
  "transit",
  "edge_wait",
  "socket_write",
  "last_mile",
] as const;
export type AnyHop = (typeof ALL_HOPS)[number];

export const HOP_LABELS: Readonly<Record<AnyHop, string>> = {
  sdk_queue: "SDK queue",
  ingest: "to the publisher",
  log: "write to the log",
  lane_wait: "wait in the lane",
  transit: "to the gateway",
  edge_wait: "wait at the gateway",
  socket_write: "write to the socket",
  last_mile: "to this browser",
};

/** The places an event passes, each with the hops that are spent there. */
export const PLACES = [
  { id: "service", label: "AI service", hops: ["sdk_queue"] },
  { id: "publisher", label: "Publisher", hops: ["ingest", "log", "lane_wait"] },
  { id: "transit", label: "Stream", hops: ["transit"] },
  { id: "gateway", label: "Gateway", hops: ["edge_wait", "socket_write"] },
  { id: "browser", label: "Browser", hops: ["last_mile"] },
] as const satisfies readonly { id: string; label: string; hops: readonly AnyHop[] }[];
export type PlaceId = (typeof PLACES)[number]["id"];

export type HopTimes = Readonly<Partial<Record<AnyHop, number>>>;

/**
 * The hops without overlap. The last mile is measured from the stamp before the write to the socket and so includes it;
 * a gateway under load may even note the end of the write after the browser has the event. So the two share the last
 * mile between them, and everything adds up to the whole way.
 */
export function disjoint(hops: HopTimes): HopTimes {
  const { last_mile, socket_write } = hops;
  if (last_mile === undefined || socket_write === undefined) return hops;
  const write = Math.min(Math.max(0, socket_write), Math.max(0, last_mile));
  return { ...hops, socket_write: write, last_mile: last_mile - write };
}

/** Sums the hops of each place; clock skew between two machines shows as zero, not as a negative stretch. */
export function byPlace(hops: HopTimes): { id: PlaceId; label: string; ms: number }[] {
  const parts = disjoint(hops);
  return PLACES.map(({ id, label, hops: names }) => ({
    id,
    label,
    ms: names.reduce((sum, hop) => sum + Math.max(0, parts[hop] ?? 0), 0),
  }));
}
