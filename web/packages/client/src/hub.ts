// One channel of a client: the listeners on it and its continuity. Turns frames into events for listeners; what must be
// sent goes through the `send` the client gives it.

import { type Accepted, ChannelState, type Continuity, type Gap, type Since } from "./channel-state.ts";
import type { LanecastError } from "./errors.ts";
import type {
  AdvanceFrame,
  ClientFrame,
  EventsFrame,
  GapFrame,
  Lane,
  Position,
  ServerFrame,
  SubscribedFrame,
  WireEvent,
} from "./frames.ts";
import { LANES } from "./frames.ts";
import type { Latency } from "./latency.ts";
import type { DeliveryKind, EventEnvelope, Kept, OfflineCache, SubscribeOptions } from "./types.ts";

/** An event before its payload type is known to the compiler. */
export type AnyEvent = EventEnvelope & { readonly type: string; readonly data: unknown };

/** The lane that polls bring. */
const POLLED_LANE: Lane = "CRITICAL";

/** Reasons after which the application's picture is incomplete. */
const UNRECOVERABLE: ReadonlySet<string> = new Set(["TRUNCATED", "AHEAD", "EPOCH_UNKNOWN", "UNEXPLAINED"]);

class Listener {
  readonly lanes: ReadonlySet<Lane>;
  readonly ready: Promise<void>;
  accept: () => void = () => {};
  refuse: (error: LanecastError) => void = () => {};

  constructor(
    readonly call: (event: AnyEvent) => void,
    readonly options: SubscribeOptions,
  ) {
    this.lanes = new Set(options.lanes ?? LANES);
    this.ready = new Promise((resolve, reject) => {
      this.accept = resolve;
      this.refuse = reject;
    });
    // Whoever does not ask for `ready` is told by `onError`; the rejection must not count as unhandled.
    this.ready.catch(() => {});
  }
}

/** What a hub needs of its client. */
export interface Outlet {
  connected(): boolean;
  send(frame: ClientFrame): void;
  /** What is wanted of the channel, or where it stands, is not what it was when it was last polled. */
  changed(): void;
}

/** What a poll asks for of one channel. */
export interface PolledChannel {
  readonly channel: string;
  readonly since: Since;
  /** Null: none yet, so `since` decides. */
  readonly position: Position | null;
}

export class Hub {
  readonly #state: ChannelState;
  readonly #outlet: Outlet;
  readonly #cache: OfflineCache | null;
  readonly #listeners = new Set<Listener>();
  /** True until it is known what the device has kept: only then is it clear where to begin. */
  #restoring = false;
  /** Set while a retry after a refusal waits. */
  retryTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(channel: string, since: Since, outlet: Outlet, cache: OfflineCache | null = null) {
    this.#state = new ChannelState(channel, since);
    this.#outlet = outlet;
    this.#cache = cache;
    if (cache) void this.#restore(cache);
  }

  get empty(): boolean {
    return this.#listeners.size === 0;
  }

  add(call: (event: AnyEvent) => void, options: SubscribeOptions): Listener {
    const listener = new Listener(call, options);
    this.#listeners.add(listener);
    if (this.#state.addLanes([...listener.lanes])) this.request();
    else if (this.#state.live) listener.accept();
    return listener;
  }

  remove(listener: Listener): boolean {
    return this.#listeners.delete(listener);
  }

  continuity(): Continuity {
    return this.#state.continuity();
  }

  /** Subscribes, or resumes where the channel stands. Without a connection it waits for the next `welcome`. */
  request(): void {
    if (this.#restoring) return;
    if (this.#outlet.connected()) this.#outlet.send(this.#state.request());
    else this.#outlet.changed();
  }

  disconnected(): void {
    this.#state.disconnected();
    clearTimeout(this.retryTimer);
  }

  subscribed(frame: SubscribedFrame): void {
    this.#state.subscribed(frame);
    if (!this.#state.live) return;
    for (const listener of this.#listeners) listener.accept();
    this.#keep([]);
  }

  refused(): void {
    this.#state.refused();
  }

  /** The client has given up for now: nobody should wait for `ready`. The subscriptions stay for a later `connect`. */
  failed(error: LanecastError): void {
    for (const listener of this.#listeners) listener.refuse(error);
  }

  /** Ends all subscriptions. */
  end(error: LanecastError): void {
    clearTimeout(this.retryTimer);
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) {
      listener.refuse(error);
      guard(() => listener.options.onError?.(error));
    }
  }

  gap(frame: GapFrame): void {
    const gap = this.#state.gap(frame);
    if (!gap) return;
    this.#tellGap(gap);
    this.#keep([]);
  }

  advance(frame: AdvanceFrame): void {
    this.#state.advance(frame);
    this.#keep([]);
  }

  /** Delivers what is new; `latencyOf` is asked once for each such event. Asks again for what is missing. */
  events(
    frame: EventsFrame,
    latencyOf: (event: WireEvent) => Latency | null,
    delivery: DeliveryKind = frame.replayed ? "recovered" : "live",
  ): Accepted {
    const accepted = this.#state.events(frame);
    if (accepted.gap) this.#tellGap(accepted.gap);
    const made = accepted.events.map((event) => makeEvent(event, frame, latencyOf(event), delivery));
    for (const event of made) this.#tell(event);
    if (made.length > 0) this.#keep(made);
    if (accepted.recover) this.request();
    return accepted;
  }

  /** What to ask for where polls have to do; null: nothing, or it is not known yet from where. */
  toPoll(): PolledChannel | null {
    return this.#restoring ? null : this.#state.toPoll(POLLED_LANE);
  }

  /** Takes a frame that came by a poll; null where it brings no events. */
  polled(frame: ServerFrame): Accepted | null {
    return this.#state.polling(() => {
      if (frame.kind === "events") return this.events(frame, () => null, "polled");
      if (frame.kind === "gap") this.gap(frame);
      else if (frame.kind === "advance") this.advance(frame);
      else if (frame.kind === "subscribed") this.#polledFrom(frame);
      return null;
    });
  }

  #polledFrom(frame: SubscribedFrame): void {
    // Each poll goes on where the last one ended: that is no resumption to be counted.
    this.#state.subscribed({ ...frame, wasRecovering: false });
    for (const listener of this.#listeners) if (listener.lanes.has(POLLED_LANE)) listener.accept();
    this.#keep([]);
  }

  async #restore(cache: OfflineCache): Promise<void> {
    this.#restoring = true;
    let kept: Kept = { events: [], positions: [] };
    try {
      kept = await cache.restore(this.#state.channel);
    } catch (error) {
      report(error);
    }
    this.#restoring = false;
    if (this.empty) return;
    this.#state.restore(kept.positions);
    for (const event of kept.events) this.#tell({ ...event, delivery: "cached", latency: null });
    this.request();
  }

  #keep(events: readonly AnyEvent[]): void {
    if (!this.#cache) return;
    const kept = events.map(({ delivery: _delivery, latency: _latency, ...event }) => event);
    this.#cache.keep(this.#state.channel, kept, this.#state.continuity().positions);
  }

  #tell(event: AnyEvent): void {
    for (const listener of this.#listeners) {
      if (listener.lanes.has(event.lane)) guard(() => listener.call(event));
    }
  }

  #tellGap(gap: Gap): void {
    for (const { lanes, options } of this.#listeners) {
      if (!lanes.has(gap.lane)) continue;
      guard(() => options.onGap?.(gap));
      if (UNRECOVERABLE.has(gap.reason)) guard(() => options.onUnrecoverable?.(gap));
    }
  }
}

/** Makes an event as the application sees it. */
export function makeEvent(
  event: WireEvent,
  frame: EventsFrame,
  latency: Latency | null,
  delivery: DeliveryKind,
): AnyEvent {
  return {
    channel: frame.channel,
    lane: frame.lane,
    epoch: frame.epoch,
    offset: event.offset,
    id: event.id,
    source: event.source,
    type: event.type,
    data: event.data,
    createTime: event.createTime > 0 ? new Date(event.createTime / 1000) : null,
    delivery,
    latency,
    policy: frame.policy,
    arm: frame.arm,
    traceContext: event.traceContext,
  };
}

/** Calls back into the application. What it throws is its own: reported as uncaught, it must not stop the next event. */
export function guard(call: () => void): void {
  try {
    call();
  } catch (error) {
    report(error);
  }
}

/** Reports an error that nobody waits for as uncaught. */
function report(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
