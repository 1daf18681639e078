// The page of the load proof (`python -m bench.page`): receives, and measures the SDK with as little of its own as can be.
// What it keeps is made before the first event, so that a heap that grows is the SDK's.

import { type AiEvents, type Client, createClient, type Environment, type Latency } from "@lanecast/client";

const SAMPLES = 20_000;
/** Of each sample: the page's latency, its bound, and what the servers alone say of the same event; milliseconds. */
const COLUMNS = 3;
/** Handling times of messages, in steps of 0.1 ms; the last one is for all that took longer. */
const STEPS = 2_000;

interface LongTask {
  readonly at: number;
  readonly ms: number;
  readonly by: string;
}

class Load {
  client: Client<AiEvents> | null = null;
  count = 0;
  disorder = 0;
  gaps = 0;
  messages = 0;
  longestMs = 0;
  readonly longTasks: LongTask[] = [];
  readonly #handled = new Uint32Array(STEPS);
  readonly #samples = new Float64Array(SAMPLES * COLUMNS);
  #sampled = 0;
  readonly #last = new Map<string, { epoch: string; offset: bigint }>();
  readonly #subscriptions: ReturnType<ReturnType<Client<AiEvents>["channel"]>["subscribe"]>[] = [];

  async start(url: string, channels: readonly string[], every: number): Promise<void> {
    this.#observe();
    const client = createClient<AiEvents>({
      url,
      getToken: async () => (await fetch("/token", { cache: "no-store" })).text(),
      environment: { openSocket: (address, subprotocol) => this.#timed(new WebSocket(address, subprotocol)) },
    });
    this.client = client;
    for (const channel of channels) {
      const subscription = client.channel(channel).subscribe(
        ({ lane, epoch, offset, latency }) => {
          this.#check(channel + lane, epoch, offset);
          this.count += 1;
          if (latency && this.count % every === 0) this.#sample(latency);
        },
        { onGap: () => (this.gaps += 1) },
      );
      this.#subscriptions.push(subscription);
    }
    await Promise.all(this.#subscriptions.map((subscription) => subscription.ready()));
  }

  continuity() {
    const sum = { delivered: 0, duplicates: 0, gaps: 0, holes: 0, resumes: 0 };
    for (const subscription of this.#subscriptions) {
      const told = subscription.continuity();
      for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += told[name];
    }
    return sum;
  }

  report() {
    const samples = Array.from({ length: this.#sampled }, (_, row) =>
      Array.from(this.#samples.subarray(row * COLUMNS, (row + 1) * COLUMNS)),
    );
    const { count, disorder, gaps, messages, longestMs, longTasks } = this;
    const handledMs = [0.5, 0.99, 0.999].map((share) => this.#quantile(share));
    return { count, disorder, gaps, messages, longestMs, handledMs, longTasks, samples, continuity: this.continuity() };
  }

  /** How far the SDK's estimate of the gateway's clock is off, where page and gateway share one: milliseconds. */
  clockError(): { errorMs: number; boundMs: number } | null {
    const estimate = this.client?.clock;
    if (!estimate) return null;
    // `Date.now` steps once a millisecond. A step that is seen late, since others had the processor, looks too large.
    const truth = Math.min(...Array.from({ length: 20 }, stepOfTheWallClock));
    return { errorMs: Math.abs(estimate.offsetMicros / 1000 - truth), boundMs: estimate.uncertaintyMicros / 1000 };
  }

  #check(key: string, epoch: string, offset: bigint): void {
    const last = this.#last.get(key);
    if (!last) {
      this.#last.set(key, { epoch, offset });
      return;
    }
    if (last.epoch === epoch && last.offset >= offset) this.disorder += 1;
    last.epoch = epoch;
    last.offset = offset;
  }

  #sample({ oneWayMs, uncertaintyMs, hops }: Latency): void {
    if (this.#sampled === SAMPLES || hops.last_mile === undefined) return;
    this.#samples.set([oneWayMs, uncertaintyMs, oneWayMs - hops.last_mile], this.#sampled * COLUMNS);
    this.#sampled += 1;
  }

  /** Times each call of the SDK for a message: decoding, checking, and handing over. */
  #timed(socket: WebSocket): ReturnType<Environment["openSocket"]> {
    return new Proxy(socket, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
      set: (target, name, value) => {
        const handler = name === "onmessage" && value ? this.#handler(value) : value;
        return Reflect.set(target, name, handler, target);
      },
    }) as unknown as ReturnType<Environment["openSocket"]>;
  }

  #handler(handle: (event: MessageEvent) => void): (event: MessageEvent) => void {
    return (event) => {
      const begun = performance.now();
      handle(event);
      const ms = performance.now() - begun;
      this.messages += 1;
      this.longestMs = Math.max(this.longestMs, ms);
      const step = Math.min(STEPS - 1, Math.floor(ms * 10));
      this.#handled[step] = (this.#handled[step] ?? 0) + 1;
    };
  }

  #quantile(share: number): number {
    let left = share * this.messages;
    const step = this.#handled.findIndex((count) => {
      left -= count;
      return left <= 0;
    });
    return (step + 1) / 10;
  }

  #observe(): void {
    const observe = (type: string, by: (entry: PerformanceEntry) => string) =>
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
          this.longTasks.push({ at: entry.startTime, ms: entry.duration, by: `${type}: ${by(entry)}` });
        }
      }).observe({ type, buffered: true });
    observe("longtask", ({ name }) => name);
    // Names the scripts that held the page up, which `longtask` does not.
    observe("long-animation-frame", (entry) => {
      const { scripts = [] } = entry as PerformanceEntry & { scripts?: { invoker: string; duration: number }[] };
      return scripts.map(({ invoker, duration }) => `${invoker} ${duration.toFixed(1)} ms`).join(", ") || "no script";
    });
  }
}

/** This page's clock less the wall clock, at the moment the latter moves on; milliseconds. */
function stepOfTheWallClock(): number {
  const before = Date.now();
  let wall = before;
  while (wall === before) wall = Date.now();
  return performance.timeOrigin + performance.now() - wall;
}

Object.assign(globalThis, { load: new Load() });
