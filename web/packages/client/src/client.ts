// The client: its channels and what comes for them. Leaves being connected to the connector, continuity to the channel
// states, polls to the fallback, and what time it is at the gateway to the estimator.

import { type ClockEstimate, ClockEstimator } from "./clock.ts";
import { Connector } from "./connector.ts";
import { defaultEnvironment, type Environment } from "./environment.ts";
import { closedError, closeError, LanecastError } from "./errors.ts";
import { Fallback } from "./fallback.ts";
import type { ClientFrame, ErrorFrame, EventsFrame, Micros, ServerFrame, WireEvent } from "./frames.ts";
import { type AnyEvent, guard, Hub } from "./hub.ts";
import { iterate } from "./iterate.ts";
import { type Latency, measure } from "./latency.ts";
import { ReceiptReporter } from "./receipts.ts";
import type {
  Channel,
  Client,
  ClientOptions,
  ConnectionState,
  EventsOptions,
  EventTypes,
  LanecastEvent,
  Statistics,
  SubscribeOptions,
  Subscription,
} from "./types.ts";

/** Makes a client. Nothing is opened before `connect` or a subscription. */
export function createClient<M extends EventTypes = Record<string, unknown>>(options: ClientOptions): Client<M> {
  // The payload types exist for the compiler only, so one untyped client serves them all.
  return new LanecastClient(options) as unknown as Client<M>;
}

class LanecastClient implements Client<Record<string, unknown>> {
  readonly #options: ClientOptions;
  readonly #environment: Environment;
  readonly #clock: ClockEstimator;
  readonly #connector: Connector;
  readonly #fallback: Fallback;
  readonly #receipts: ReceiptReporter;
  readonly #hubs = new Map<string, Hub>();
  readonly #stateListeners = new Set<(state: ConnectionState) => void>();
  #counts = { received: 0, connections: 0 };

  constructor(options: ClientOptions) {
    this.#options = options;
    const environment = { ...defaultEnvironment(), ...options.environment };
    this.#environment = environment;
    this.#clock = new ClockEstimator(environment.resolution);
    const send = (frame: ClientFrame) => this.#connector.command(frame);
    this.#receipts = new ReceiptReporter(environment.random, send);
    this.#connector = new Connector(options, environment, this.#clock, {
      changed: (state) => {
        for (const listener of [...this.#stateListeners]) guard(() => listener(state));
      },
      connected: () => this.#connected(),
      disconnected: () => this.#disconnected(),
      retrying: (failures) => this.#fallback.retrying(failures),
      failed: (error) => {
        this.#fallback.stop();
        for (const hub of this.#hubs.values()) hub.failed(error);
      },
      frame: (frame, received) => this.#frame(frame, received),
      woken: () => this.#fallback.changed(),
    });
    this.#fallback = new Fallback(options, environment, this.#connector, this.#hubs, (frame) => this.#polled(frame));
  }

  get state(): ConnectionState {
    return this.#connector.state;
  }

  get clock(): ClockEstimate | null {
    return this.#clock.estimate(this.#environment.now());
  }

  connect(): Promise<void> {
    return this.#connector.connect();
  }

  channel(name: string): Channel<Record<string, unknown>> {
    type Event = LanecastEvent<Record<string, unknown>>;
    const subscribe = (listener: (event: Event) => void, options: SubscribeOptions = {}) =>
      this.#subscribe(name, listener as (event: AnyEvent) => void, options);
    return {
      name,
      subscribe,
      events: ({ capacity, ...options }: EventsOptions = {}) =>
        iterate<Event>((listener, onError) => subscribe(listener, { ...options, onError }), name, capacity),
    };
  }

  onState(listener: (state: ConnectionState) => void): () => void {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  }

  statistics(): Statistics {
    let duplicates = 0;
    let gaps = 0;
    for (const hub of this.#hubs.values()) {
      const continuity = hub.continuity();
      duplicates += continuity.duplicates;
      gaps += continuity.gaps;
    }
    const receiptsSent = this.#receipts.sent;
    return { ...this.#counts, duplicates, gaps, subscriptions: this.#hubs.size, receiptsSent };
  }

  close(): void {
    if (this.state.status === "closed") return;
    this.#fallback.stop();
    this.#connector.close();
    for (const hub of this.#hubs.values()) hub.end(closedError());
    this.#hubs.clear();
  }

  // --- subscriptions ---

  #subscribe(name: string, call: (event: AnyEvent) => void, options: SubscribeOptions): Subscription {
    if (this.state.status === "closed") throw closedError();
    let hub = this.#hubs.get(name);
    if (!hub) {
      const outlet = {
        connected: () => this.#connector.connected,
        send: (frame: ClientFrame) => this.#connector.command(frame),
        changed: () => this.#fallback.changed(),
      };
      hub = new Hub(name, options.since ?? "latest", outlet, this.#options.offline);
      this.#hubs.set(name, hub);
    }
    const joined = hub;
    const listener = joined.add(call, options);
    const unsubscribe = () => {
      options.signal?.removeEventListener("abort", unsubscribe);
      if (joined.remove(listener) && joined.empty) this.#leave(name, joined);
    };
    options.signal?.addEventListener("abort", unsubscribe);
    if (options.signal?.aborted) unsubscribe();
    else this.#connector.start();
    return { ready: () => listener.ready, continuity: () => joined.continuity(), unsubscribe };
  }

  #leave(name: string, hub: Hub): void {
    if (this.#hubs.get(name) !== hub) return;
    hub.disconnected();
    this.#hubs.delete(name);
    this.#connector.command({ kind: "unsubscribe", channel: name });
    this.#fallback.changed();
  }

  // --- what comes ---

  #connected(): void {
    this.#fallback.stop();
    this.#counts.connections += 1;
    for (const hub of this.#hubs.values()) hub.request();
  }

  #disconnected(): void {
    this.#receipts.stop();
    for (const hub of this.#hubs.values()) hub.disconnected();
  }

  #frame(frame: ServerFrame, received: Micros): void {
    this.#clock.watch(this.#environment);
    switch (frame.kind) {
      case "events":
        this.#events(frame, received);
        return;
      case "subscribed":
        this.#hubs.get(frame.channel)?.subscribed(frame);
        return;
      case "gap":
        this.#hubs.get(frame.channel)?.gap(frame);
        return;
      case "advance":
        this.#hubs.get(frame.channel)?.advance(frame);
        return;
      case "error":
        this.#error(frame);
        return;
    }
  }

  #events(frame: EventsFrame, received: Micros): void {
    const clock = this.#clock.estimate(received);
    const reports = this.#options.receipts !== false && !this.#environment.hidden();
    const latencyOf = (event: WireEvent): Latency | null => {
      const latency = measure(event, frame, received, clock);
      if (latency && reports) this.#receipts.report(event, frame.lane, latency);
      return latency;
    };
    this.#counts.received += this.#hubs.get(frame.channel)?.events(frame, latencyOf).events.length ?? 0;
  }

  /** Takes a frame that came by a poll. */
  #polled(frame: ServerFrame): void {
    if (frame.kind === "error") this.#error(frame);
    else if ("channel" in frame) {
      this.#counts.received += this.#hubs.get(frame.channel)?.polled(frame)?.events.length ?? 0;
    }
  }

  #error(frame: ErrorFrame): void {
    const hub = this.#hubs.get(frame.channel);
    if (!hub || frame.fatal) return;
    hub.refused();
    if (frame.retryable) {
      clearTimeout(hub.retryTimer);
      hub.retryTimer = setTimeout(() => hub.request(), 1_000 + this.#environment.random() * 2_000);
      return;
    }
    this.#hubs.delete(frame.channel);
    const { code, message, remediation } = closeError(frame.code, frame.message);
    hub.end(
      new LanecastError(frame.reason || code, frame.message || message, {
        retryable: false,
        remediation,
        channel: frame.channel,
        closeCode: frame.code,
      }),
    );
  }
}
