// Which measured latencies are reported to the gateway, and when. The sampler is pure; the reporter, owned by the client,
// sends what it has taken once a second.

import type { ClientFrame, Lane, ReceiptSample, WireEvent } from "./frames.ts";
import type { Latency } from "./latency.ts";

/** How long measured latencies are collected before they are reported, in milliseconds. */
const INTERVAL_MS = 1_000;
const PER_LANE = 16;

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

export class ReceiptReporter {
  readonly #sampler: ReceiptSampler;
  readonly #send: (frame: ClientFrame) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #sent = 0;

  constructor(random: () => number, send: (frame: ClientFrame) => void) {
    this.#sampler = new ReceiptSampler(PER_LANE, random);
    this.#send = send;
  }

  /** Number of samples sent so far. */
  get sent(): number {
    return this.#sent;
  }

  report(event: WireEvent, lane: Lane, { hops: { last_mile: lastMileMs }, ...latency }: Latency): void {
    if (lastMileMs === undefined) return;
    this.#sampler.add({
      lane,
      offset: event.offset,
      type: event.type,
      lastMileMicros: Math.round(lastMileMs * 1000),
      uncertaintyMicros: Math.round(latency.uncertaintyMs * 1000),
      endToEndMicros: event.sendTime > 0 ? Math.round(latency.oneWayMs * 1000) : 0,
      traceContext: event.traceContext,
    });
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const samples = this.#sampler.take();
      this.#sent += samples.length;
      this.#send({ kind: "receipt", samples });
    }, INTERVAL_MS);
  }

  /** Sends nothing until there is something new. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
