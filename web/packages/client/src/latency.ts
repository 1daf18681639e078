// How long an event was on its way, from the stamps it carries. Pure.

import type { ClockEstimate } from "./clock.ts";
import type { EventsFrame, Micros, WireEvent } from "./frames.ts";

/**
 * The stretches of the way, in order. `last_mile` ends in the browser and is the only one that compares two machines'
 * clocks by this client's estimate; it includes the write to the socket, which only the gateway can tell apart.
 */
export const HOPS = ["sdk_queue", "ingest", "log", "lane_wait", "transit", "edge_wait", "last_mile"] as const;
export type Hop = (typeof HOPS)[number];

/** `unknown`: the uncertainty reaches across a threshold. */
export type LatencyGrade = "excellent" | "good" | "warning" | "critical" | "unknown";

/** The measured latency of one event that was delivered live. */
export interface Latency {
  /** From the publishing SDK's write to receipt in this client, in milliseconds. */
  readonly oneWayMs: number;
  /** The true value is at most this far away, as far as this client's clock goes; milliseconds. */
  readonly uncertaintyMs: number;
  readonly grade: LatencyGrade;
  /** Duration of each hop whose stamps are known, in milliseconds. A negative one shows skew between two servers. */
  readonly hops: Readonly<Partial<Record<Hop, number>>>;
}

/** Upper ends of the grades in milliseconds. */
const GRADES: readonly (readonly [LatencyGrade, number])[] = [
  ["excellent", 10],
  ["good", 50],
  ["warning", 100],
  ["critical", Number.POSITIVE_INFINITY],
];

/** Grades a latency; `unknown` where its interval straddles a threshold. */
export function grade(oneWayMs: number, uncertaintyMs: number): LatencyGrade {
  const best = gradeOf(oneWayMs - uncertaintyMs);
  return best === gradeOf(oneWayMs + uncertaintyMs) ? best : "unknown";
}

function gradeOf(milliseconds: number): LatencyGrade {
  return GRADES.find(([, end]) => milliseconds < end)?.[0] ?? "critical";
}

/** Measures an event received at `now` by the client's clock. Null where it was replayed or the clocks are not known. */
export function measure(
  event: WireEvent,
  frame: EventsFrame,
  now: Micros,
  clock: ClockEstimate | null,
): Latency | null {
  if (frame.replayed || clock === null) return null;
  const received = now - clock.offsetMicros;
  const start = event.sendTime || event.acceptTime;
  if (start === 0) return null;
  const oneWayMs = (received - start) / 1000;
  const uncertaintyMs = clock.uncertaintyMicros / 1000;
  return { oneWayMs, uncertaintyMs, grade: grade(oneWayMs, uncertaintyMs), hops: hopsOf(event, frame, received) };
}

function hopsOf(event: WireEvent, frame: EventsFrame, received: Micros): Partial<Record<Hop, number>> {
  const stamps = [
    event.createTime,
    event.sendTime,
    event.acceptTime,
    event.storeTime,
    frame.flushTime,
    frame.edgeReceiveTime,
    frame.edgeSendTime,
    received,
  ];
  const hops: Partial<Record<Hop, number>> = {};
  HOPS.forEach((hop, index) => {
    const from = stamps[index] ?? 0;
    const to = stamps[index + 1] ?? 0;
    if (from > 0 && to > 0) hops[hop] = (to - from) / 1000;
  });
  return hops;
}
