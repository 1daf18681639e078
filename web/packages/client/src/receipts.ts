// Which measured latencies are reported to the gateway. Pure; the client sends what `take` returns, once a second.

import type { Lane, ReceiptSample } from "./frames.ts";

/** Keeps a uniform sample of each lane's deliveries since the last `take` (reservoir sampling, algorithm R). */
export class ReceiptSampler {
  readonly #perLane: number;
  readonly #random: () => number;
  readonly #lanes = new Map<Lane, { seen: number; kept: ReceiptSample[] }>();

  /** `perLane`: most samples of one lane in one report. Four lanes of 16 fill a receipt. */
  constructor(perLane: number, random: () => number) {
    this.#perLane = perLane;
    this.#random = random;
  }

  add(sample: ReceiptSample): void {
    const lane = this.#lanes.get(sample.lane) ?? { seen: 0, kept: [] };
    this.#lanes.set(sample.lane, lane);
    lane.seen += 1;
    if (lane.kept.length < this.#perLane) {
      lane.kept.push(sample);
      return;
    }
    const slot = Math.floor(this.#random() * lane.seen);
    if (slot < this.#perLane) lane.kept[slot] = sample;
  }

  /** Returns the samples and starts again. */
  take(): ReceiptSample[] {
    const samples = [...this.#lanes.values()].flatMap((lane) => lane.kept);
    this.#lanes.clear();
    return samples;
  }
}
