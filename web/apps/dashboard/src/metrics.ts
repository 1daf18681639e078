// The service's own figures, as metrics_svc streams them once a second, and the stream itself.

import { LANES, type Lane } from "@lanecast/client";
import { Store } from "@lanecast/shared/store";
import { inFrame } from "./data/frames.ts";
import type { Operations } from "./data/operations.ts";
import { perLane } from "./feed.ts";
import { number } from "./format.ts";
import { ALL_HOPS, type AnyHop, type HopTimes } from "./lanes.ts";

const STREAM = "/api/v1/websocket-performance/stream?interval=1s&window=60s&include=status,rollouts";
/** Points kept for the small charts: one a second. */
const HISTORY = 90;

export interface Quantiles {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly mean: number;
}

export interface LaneFigures {
  /** From acceptance until the kernel took the last byte at the edge: what the budget is about. Milliseconds. */
  readonly server: Quantiles | null;
  /** From the service's SDK to browsers, as they report it. Milliseconds. */
  readonly endToEnd: Quantiles | null;
  /** Share of deliveries within the budget. */
  readonly withinBudget: number;
  /** The limit that the service holds it against; 0 where there are no figures. Milliseconds. */
  readonly budgetMs: number;
  /** Mean of each hop, in milliseconds. */
  readonly hops: HopTimes;
  readonly hopQuantiles: Readonly<Partial<Record<AnyHop, Quantiles>>>;
  readonly deliveredPerSecond: number;
  readonly acceptedPerSecond: number;
  readonly rejectedPerSecond: number;
  readonly duplicatePerSecond: number;
  readonly droppedPerSecond: number;
  readonly meanBatchSize: number;
  readonly queueDepth: number;
}

export interface MetricsSnapshot {
  readonly state: "waiting" | "live" | "lost";
  readonly lanes: Readonly<Record<Lane, LaneFigures>>;
  readonly connections: number;
  /** When the newest message came, in milliseconds since the Unix epoch; 0 before the first. */
  readonly at: number;
  /** 99th percentile per second of each lane, oldest first; null where there was none. */
  readonly history: Readonly<Record<Lane, readonly (number | null)[]>>;
}

/** What one message of the stream says, as ProtoJSON of lanecast.v1.WatchMetricsResponse. */
export interface WatchMetricsJson {
  readonly latency?: { readonly figures?: readonly LatencyFigureJson[] };
  readonly throughput?: {
    readonly figures?: readonly ThroughputFigureJson[];
    readonly connections?: string | number;
  };
}

interface ThroughputFigureJson {
  readonly lane?: string;
  readonly deliveredPerSecond?: number;
  readonly acceptedPerSecond?: number;
  readonly rejectedPerSecond?: number;
  readonly duplicatePerSecond?: number;
  readonly droppedPerSecond?: number;
  readonly meanBatchSize?: number;
  readonly queueDepth?: string | number;
}

interface LatencyFigureJson {
  readonly scope?: string;
  readonly hop?: string;
  readonly lane?: string;
  readonly type?: string;
  readonly count?: string | number;
  readonly p50Seconds?: number;
  readonly p95Seconds?: number;
  readonly p99Seconds?: number;
  readonly meanSeconds?: number;
  readonly withinBudget?: number;
  readonly budgetSeconds?: number;
}

const NO_FIGURES: LaneFigures = {
  server: null,
  endToEnd: null,
  withinBudget: 0,
  budgetMs: 0,
  hops: {},
  hopQuantiles: {},
  ...rates({}),
};

const NOTHING: MetricsSnapshot = {
  state: "waiting",
  lanes: perLane(() => NO_FIGURES),
  connections: 0,
  at: 0,
  history: perLane(() => []),
};

/** Reads one message into figures per lane. */
export function readFigures(message: WatchMetricsJson): Record<Lane, LaneFigures> {
  return perLane((lane) => {
    const name = `PRIORITY_${lane}`;
    const latencies = (message.latency?.figures ?? []).filter((figure) => figure.lane === name && !figure.type);
    const server = latencies.find(({ scope }) => scope === "LATENCY_SCOPE_SERVER");
    const endToEnd = latencies.find(({ scope }) => scope === "LATENCY_SCOPE_END_TO_END");
    const hopQuantiles: Partial<Record<AnyHop, Quantiles>> = {};
    for (const hop of ALL_HOPS) {
      const figure = latencies.find((found) => found.hop === `HOP_${hop.toUpperCase()}`);
      if (figure) hopQuantiles[hop] = quantiles(figure);
    }
    const means = Object.entries(hopQuantiles).map(([hop, { mean }]) => [hop, mean] as const);
    const throughput = message.throughput?.figures?.find((figure) => figure.lane === name);
    return {
      server: server ? quantiles(server) : null,
      endToEnd: endToEnd ? quantiles(endToEnd) : null,
      withinBudget: number(server?.withinBudget),
      budgetMs: number(server?.budgetSeconds) * 1_000,
      hops: Object.fromEntries(means),
      hopQuantiles,
      ...rates(throughput ?? {}),
    };
  });
}

function rates(figure: ThroughputFigureJson) {
  return {
    deliveredPerSecond: number(figure.deliveredPerSecond),
    acceptedPerSecond: number(figure.acceptedPerSecond),
    rejectedPerSecond: number(figure.rejectedPerSecond),
    duplicatePerSecond: number(figure.duplicatePerSecond),
    droppedPerSecond: number(figure.droppedPerSecond),
    meanBatchSize: number(figure.meanBatchSize),
    queueDepth: number(figure.queueDepth),
  };
}

function quantiles(figure: LatencyFigureJson): Quantiles {
  return {
    count: number(figure.count),
    p50: number(figure.p50Seconds) * 1_000,
    p95: number(figure.p95Seconds) * 1_000,
    p99: number(figure.p99Seconds) * 1_000,
    mean: number(figure.meanSeconds) * 1_000,
  };
}

export class Metrics {
  readonly snapshot = new Store<MetricsSnapshot>(NOTHING);
  #source: EventSource | null = null;

  /** Opens the stream. What it carries besides figures goes to `operations`. */
  start(operations: Operations): void {
    const source = new EventSource(STREAM);
    this.#source = source;
    source.addEventListener("metrics", (event) => {
      const message: WatchMetricsJson = JSON.parse(event.data);
      inFrame(this, () => this.take(message));
    });
    source.addEventListener("status", (event) => operations.takeStatus(JSON.parse(event.data)));
    source.addEventListener("alert", (event) => operations.takeAlert(JSON.parse(event.data)));
    source.addEventListener("rollout", (event) => operations.takeRollout(JSON.parse(event.data)));
    // The browser connects again by itself; until then the figures on the page are old, and it must say so.
    source.onerror = () => this.snapshot.set({ ...this.snapshot.get(), state: "lost" });
  }

  stop(): void {
    this.#source?.close();
    this.#source = null;
  }

  /** Takes in one message. */
  take(message: WatchMetricsJson): void {
    const before = this.snapshot.get();
    const lanes = readFigures(message);
    this.snapshot.set({
      state: "live",
      lanes,
      connections: number(message.throughput?.connections),
      at: Date.now(),
      history: perLane((lane) => [...before.history[lane], lanes[lane].server?.p99 ?? null].slice(-HISTORY)),
    });
  }
}

/**
 * The typical way over all lanes: the medians of each hop, each weighed by its samples; null where nothing was measured.
 * A mean would be the first second's, when everything starts at once, for a whole minute.
 */
export function overall(lanes: Readonly<Record<Lane, LaneFigures>>): HopTimes | null {
  const sums: Partial<Record<AnyHop, { ms: number; count: number }>> = {};
  for (const lane of LANES) {
    for (const hop of ALL_HOPS) {
      const found = lanes[lane].hopQuantiles[hop];
      if (!found) continue;
      const sum = sums[hop] ?? { ms: 0, count: 0 };
      sums[hop] = { ms: sum.ms + found.p50 * found.count, count: sum.count + found.count };
    }
  }
  const entries = Object.entries(sums).map(([hop, { ms, count }]) => [hop, count > 0 ? ms / count : 0] as const);
  return entries.length > 0 ? Object.fromEntries(entries) : null;
}
