// Events for tests, as the SDK would hand them over.

import type { AiEvents, Latency } from "@lanecast/client";
import type { AiEvent } from "../src/feed.ts";

export const LATENCY: Latency = {
  oneWayMs: 2.5,
  uncertaintyMs: 0.2,
  grade: "excellent",
  hops: { sdk_queue: 0.1, ingest: 0.4, log: 0.2, lane_wait: 0, transit: 0.5, edge_wait: 0.3, last_mile: 1.1 },
};

export function makeEvent<T extends keyof AiEvents>(
  type: T,
  data: AiEvents[T],
  fields: Partial<Pick<AiEvent, "channel" | "lane" | "latency" | "delivery" | "id">> = {},
): AiEvent {
  return {
    channel: "agent:42",
    lane: "CRITICAL",
    epoch: "e1",
    offset: 7n,
    id: "event-7",
    source: "concierge",
    createTime: new Date(Date.UTC(2026, 0, 1, 12, 30, 5, 42)),
    delivery: "live",
    latency: LATENCY,
    policy: "default",
    arm: null,
    traceContext: new Uint8Array(),
    type,
    data,
    ...fields,
  } as AiEvent;
}

export function insight(text: string, fields: Parameters<typeof makeEvent>[2] = {}): AiEvent {
  return makeEvent("lanecast.ai.v1.ConciergeInsight", { text }, fields);
}
