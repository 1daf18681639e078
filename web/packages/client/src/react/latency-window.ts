// The newest latencies of a channel, and their quantiles. Immutable from outside, so that React sees a change.

import type { Latency, LatencyGrade } from "../latency.ts";

const SAMPLES = 256;

export interface Figures {
  readonly count: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  /** Bound on the difference between this clock and the gateway's, of the newest sample. */
  readonly uncertaintyMs: number;
}

export class LatencyWindow {
  static readonly EMPTY = new LatencyWindow([]);
  readonly #samples: readonly Latency[];

  private constructor(samples: readonly Latency[]) {
    this.#samples = samples;
  }

  /** The window with one more; null, that is an event that was not live, changes nothing. */
  with(latency: Latency | null): LatencyWindow {
    return latency ? new LatencyWindow([...this.#samples.slice(1 - SAMPLES), latency]) : this;
  }

  view(): (Figures & { readonly grade: LatencyGrade }) | null {
    const newest = this.#samples.at(-1);
    if (!newest) return null;
    const sorted = [...this.#samples].sort((a, b) => a.oneWayMs - b.oneWayMs);
    const at = (q: number) => sorted[Math.min(sorted.length, Math.ceil(q * sorted.length)) - 1] ?? newest;
    return {
      count: sorted.length,
      p50Ms: at(0.5).oneWayMs,
      p95Ms: at(0.95).oneWayMs,
      p99Ms: at(0.99).oneWayMs,
      uncertaintyMs: newest.uncertaintyMs,
      grade: at(0.5).grade,
    };
  }
}
