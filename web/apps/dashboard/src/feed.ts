// What has arrived: the newest events of each lane, counts and this browser's own latency. Bounded whatever the rate:
// every event is counted and measured, but a full lane takes one card at a time, slowly enough to be read, and gives each
// of its channels a turn: a loud one does not crowd out the others.

import { type AiEvents, HOPS, LANES, type Lane, type LanecastEvent } from "@lanecast/client";
import { Store } from "@lanecast/shared/store";
import type { HopTimes } from "./lanes.ts";

export type AiEvent = LanecastEvent<AiEvents>;

/** Cards kept per lane. */
export const CARDS_PER_LANE = 20;
/** Latencies kept per lane for this browser's quantiles. */
const SAMPLES_PER_LANE = 512;
/** Events kept per lane until its next card; of the newest, one is chosen. */
const PENDING_PER_LANE = 64;
/** Rest of a lane after each card, once it is full: nobody reads faster. */
export const REST_MS = 900;
/** Rest of the page after a showing: what fills an empty lane comes in few renders. */
const SHOWING_REST_MS = 100;
/** Channels counted per lane. */
const CHANNELS_PER_LANE = 10_000;
const RATE_WINDOW_MS = 5_000;

export interface Item {
  /** Grows with each arrival; the key of the card. */
  readonly key: number;
  readonly arrived: Date;
  readonly event: AiEvent;
}

export interface LaneFeed {
  /** Newest first. */
  readonly items: readonly Item[];
  readonly total: number;
  /** Channels that had an event. */
  readonly channels: number;
  /** True while more arrives than is shown. */
  readonly crowded: boolean;
}

export interface FeedSnapshot {
  readonly lanes: Readonly<Record<Lane, LaneFeed>>;
  readonly total: number;
  readonly paused: boolean;
  /** Events that arrived since the pause. */
  readonly missed: number;
}

export interface BrowserFigures {
  /** Live events per second over the last five seconds. */
  readonly perSecond: number;
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly uncertainty: number;
  /** Mean of each hop of the newest samples, in milliseconds. */
  readonly hops: HopTimes;
}

interface Timing {
  readonly at: number;
  readonly oneWay: number;
  readonly uncertainty: number;
  readonly hops: HopTimes;
}

/** What the feed takes from its surroundings. */
export interface FeedClock {
  now(): number;
  nextFrame(call: () => void): void;
  after(ms: number, call: () => void): void;
}

const BROWSER_CLOCK: FeedClock = {
  now: () => performance.now(),
  nextFrame: (call) => void requestAnimationFrame(call),
  after: (ms, call) => void setTimeout(call, ms),
};

export class Feed {
  readonly snapshot: Store<FeedSnapshot>;
  /** Recomputed by `measure`, once a second. */
  readonly browser = new Store<Readonly<Record<Lane, BrowserFigures | null>>>(perLane(() => null));

  readonly #clock: FeedClock;
  readonly #pending: Record<Lane, Item[]> = perLane(() => []);
  readonly #totals: Record<Lane, number> = perLane(() => 0);
  readonly #timings: Record<Lane, Timing[]> = perLane(() => []);
  readonly #channels: Record<Lane, Set<string>> = perLane(() => new Set<string>());
  /** Until when each lane leaves its cards as they are. */
  readonly #restsUntil: Record<Lane, number> = perLane(() => Number.NEGATIVE_INFINITY);
  #key = 0;
  #missed = 0;
  #scheduled = false;

  constructor(clock: FeedClock = BROWSER_CLOCK) {
    this.#clock = clock;
    this.snapshot = new Store<FeedSnapshot>({
      lanes: perLane(() => ({ items: [], total: 0, channels: 0, crowded: false })),
      total: 0,
      paused: false,
      missed: 0,
    });
  }

  /** Takes in an event. */
  add(event: AiEvent): void {
    const pending = this.#pending[event.lane];
    pending.push({ key: this.#key, arrived: new Date(), event });
    if (pending.length > PENDING_PER_LANE) pending.shift();
    const channels = this.#channels[event.lane];
    if (channels.size < CHANNELS_PER_LANE) channels.add(event.channel);
    this.#key += 1;
    this.#totals[event.lane] += 1;
    if (this.snapshot.get().paused) this.#missed += 1;
    if (event.latency) this.#time(event.lane, event.latency);
    this.#schedule();
  }

  setPaused(paused: boolean): void {
    if (paused === this.snapshot.get().paused) return;
    this.#missed = 0;
    this.snapshot.set({ ...this.snapshot.get(), paused, missed: 0 });
    if (!paused) this.#flush();
  }

  /** Computes this browser's figures anew. */
  measure(): void {
    const since = this.#clock.now() - RATE_WINDOW_MS;
    this.browser.set(
      perLane((lane) => {
        const timings = this.#timings[lane];
        if (timings.length === 0) return null;
        const recent = timings.filter(({ at }) => at >= since).length;
        return { ...figures(timings), perSecond: recent / (RATE_WINDOW_MS / 1_000) };
      }),
    );
  }

  #time(lane: Lane, latency: NonNullable<AiEvent["latency"]>): void {
    const timings = this.#timings[lane];
    timings.push({
      at: this.#clock.now(),
      oneWay: latency.oneWayMs,
      uncertainty: latency.uncertaintyMs,
      hops: latency.hops,
    });
    // Dropping in blocks keeps the cost of a bounded list constant per event.
    if (timings.length > SAMPLES_PER_LANE * 2) timings.splice(0, SAMPLES_PER_LANE);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.nextFrame(() => {
      this.#flush();
      this.#clock.after(SHOWING_REST_MS, () => this.#open());
    });
  }

  #open(): void {
    this.#scheduled = false;
    const { paused, missed, lanes } = this.snapshot.get();
    const news = paused
      ? missed !== this.#missed
      : LANES.some((lane) => this.#pending[lane].length > 0 || lanes[lane].crowded);
    if (news) this.#schedule();
  }

  /** Shows what is pending, or counts it while paused. */
  #flush(): void {
    const before = this.snapshot.get();
    const total = LANES.reduce((sum, lane) => sum + this.#totals[lane], 0);
    if (before.paused) {
      this.snapshot.set({ ...before, missed: this.#missed, total });
      return;
    }
    const now = this.#clock.now();
    const lanes = perLane((lane) => (now < this.#restsUntil[lane] ? before.lanes[lane] : this.#show(lane, now)));
    if (LANES.some((lane) => lanes[lane] !== before.lanes[lane])) this.snapshot.set({ ...before, lanes, total });
  }

  #show(lane: Lane, now: number): LaneFeed {
    const before = this.snapshot.get().lanes[lane];
    const pending = this.#pending[lane];
    const arrived = this.#totals[lane] - before.total;
    if (arrived === 0) return before.crowded ? { ...before, crowded: false } : before;
    // A lane with room takes what fills it: that is the history a page begins with.
    const room = CARDS_PER_LANE - before.items.length;
    const fresh = room > 0 ? pending.slice(-room).reverse() : [itsTurn(pending, before.items)];
    if (room <= 0) this.#restsUntil[lane] = now + REST_MS;
    this.#pending[lane] = [];
    return {
      items: [...fresh, ...before.items].slice(0, CARDS_PER_LANE),
      total: this.#totals[lane],
      channels: this.#channels[lane].size,
      crowded: room <= 0 && arrived > 1,
    };
  }
}

/** Returns the newest event of the channel that has gone longest without a card. */
function itsTurn(pending: readonly Item[], shown: readonly Item[]): Item {
  const since = (item: Item) => {
    const index = shown.findIndex(({ event }) => event.channel === item.event.channel);
    return index < 0 ? shown.length : index;
  };
  return pending.reduce((best, item) => (since(item) >= since(best) ? item : best));
}

function figures(timings: readonly Timing[]): Omit<BrowserFigures, "perSecond"> {
  const newest = timings.slice(-SAMPLES_PER_LANE);
  const sorted = newest.map(({ oneWay }) => oneWay).sort((a, b) => a - b);
  const quantile = (q: number) => sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? 0;
  const hops: Partial<Record<string, number>> = {};
  for (const hop of HOPS) {
    const known = newest.flatMap((timing) => (timing.hops[hop] === undefined ? [] : [timing.hops[hop]]));
    if (known.length > 0) hops[hop] = known.reduce((sum, ms) => sum + ms, 0) / known.length;
  }
  return {
    count: newest.length,
    p50: quantile(0.5),
    p95: quantile(0.95),
    p99: quantile(0.99),
    uncertainty: newest.at(-1)?.uncertainty ?? 0,
    hops,
  };
}

export function perLane<T>(make: (lane: Lane) => T): Record<Lane, T> {
  return { CRITICAL: make("CRITICAL"), HIGH: make("HIGH"), NORMAL: make("NORMAL"), LOW: make("LOW") };
}
