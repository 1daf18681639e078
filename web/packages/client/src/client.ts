// The client: one connection at a time, its state, and the channels on it. Decides when to connect and reconnect; leaves
// continuity to the channel states, the socket to the connection, and what time it is at the gateway to the estimator.

import { Backoff } from "./backoff.ts";
import { type ClockEstimate, ClockEstimator } from "./clock.ts";
import { Connection } from "./connection.ts";
import { defaultEnvironment, type Environment } from "./environment.ts";
import { closeError, LanecastError, localError } from "./errors.ts";
import type {
  ClientFrame,
  Codec,
  ErrorFrame,
  EventsFrame,
  Micros,
  ServerFrame,
  WelcomeFrame,
  WireEvent,
} from "./frames.ts";
import { type AnyEvent, guard, Hub } from "./hub.ts";
import { iterate } from "./iterate.ts";
import { jsonCodec } from "./json.ts";
import { type Latency, measure } from "./latency.ts";
import { ReceiptSampler } from "./receipts.ts";
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

/** How long measured latencies are collected before they are reported, in milliseconds. */
const RECEIPT_INTERVAL_MS = 1_000;
const RECEIPTS_PER_LANE = 16;
/** A step between the two local clocks that means one was set, or the machine slept; microseconds. */
const CLOCK_STEP_MICROS = 50_000;
/** The longest delay a timer takes, in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Makes a client. Nothing is opened before `connect` or a subscription. */
export function createClient<M extends EventTypes = Record<string, unknown>>(options: ClientOptions): Client<M> {
  // The payload types exist for the compiler only, so one untyped client serves them all.
  return new LanecastClient(options) as unknown as Client<M>;
}

class LanecastClient implements Client<Record<string, unknown>> {
  readonly #options: ClientOptions;
  readonly #urls: readonly string[];
  readonly #environment: Environment;
  readonly #backoff: Backoff;
  readonly #clock: ClockEstimator;
  readonly #receipts: ReceiptSampler;
  readonly #hubs = new Map<string, Hub>();
  readonly #stateListeners = new Set<(state: ConnectionState) => void>();
  #connectWaiters: { resolve(): void; reject(error: LanecastError): void }[] = [];
  #state: ConnectionState = { status: "idle", error: null, retryAt: null, session: null };
  #codec: Codec | null = null;
  #connection: Connection | null = null;
  /** Grows with each attempt; what an older attempt still brings is ignored. */
  #attempt = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #receiptTimer: ReturnType<typeof setTimeout> | undefined;
  #tokenTimer: ReturnType<typeof setTimeout> | undefined;
  /** When the server's drain lets this client come back, milliseconds since the Unix epoch. */
  #drainSlot: number | null = null;
  #clockStep: Micros | null = null;
  #counts = { received: 0, connections: 0, receiptsSent: 0 };

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#urls = typeof options.url === "string" ? [options.url] : options.url;
    if (this.#urls.length === 0) throw new TypeError("createClient needs at least one url");
    this.#environment = { ...defaultEnvironment(), ...options.environment };
    this.#backoff = new Backoff(options.backoff ?? {}, this.#environment.random);
    this.#clock = new ClockEstimator(this.#environment.resolution);
    this.#receipts = new ReceiptSampler(RECEIPTS_PER_LANE, this.#environment.random);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get clock(): ClockEstimate | null {
    return this.#clock.estimate(this.#environment.now());
  }

  connect(): Promise<void> {
    if (this.#state.status === "connected") return Promise.resolve();
    if (this.#state.status === "closed") return Promise.reject(closedError());
    const connected = new Promise<void>((resolve, reject) => this.#connectWaiters.push({ resolve, reject }));
    this.#start();
    return connected;
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
    return { ...this.#counts, duplicates, gaps, subscriptions: this.#hubs.size };
  }

  close(): void {
    if (this.#state.status === "closed") return;
    this.#drop();
    for (const target of this.#environment.lifecycle) {
      target.removeEventListener("online", this.#wake);
      target.removeEventListener("pageshow", this.#wake);
      target.removeEventListener("visibilitychange", this.#wake);
    }
    const error = closedError();
    this.#setState({ status: "closed", error: null, retryAt: null, session: null });
    this.#settle((waiter) => waiter.reject(error));
    for (const hub of this.#hubs.values()) hub.end(error);
    this.#hubs.clear();
  }

  // --- subscriptions ---

  #subscribe(name: string, call: (event: AnyEvent) => void, options: SubscribeOptions): Subscription {
    if (this.#state.status === "closed") throw closedError();
    let hub = this.#hubs.get(name);
    if (!hub) {
      const outlet = {
        connected: () => this.#state.status === "connected",
        send: (frame: ClientFrame) => this.#command(frame),
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
    else this.#start();
    return { ready: () => listener.ready, continuity: () => joined.continuity(), unsubscribe };
  }

  #leave(name: string, hub: Hub): void {
    if (this.#hubs.get(name) !== hub) return;
    hub.disconnected();
    this.#hubs.delete(name);
    this.#command({ kind: "unsubscribe", channel: name });
  }

  /** Sends a command now; without a connection it is not kept, since every channel is requested anew on `welcome`. */
  #command(frame: ClientFrame): void {
    if (this.#state.status === "connected") this.#connection?.command(frame);
  }

  // --- connecting ---

  #start(): void {
    const { status } = this.#state;
    if (status !== "idle" && status !== "failed") return;
    if (status === "idle") {
      for (const target of this.#environment.lifecycle) {
        target.addEventListener("online", this.#wake);
        target.addEventListener("pageshow", this.#wake);
        target.addEventListener("visibilitychange", this.#wake);
      }
    }
    this.#setState({ status: "connecting", error: null, retryAt: null, session: null });
    void this.#open();
  }

  async #open(): Promise<void> {
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.#drainSlot = null;
    this.#retryTimer = undefined;
    if (this.#state.retryAt !== null) this.#setState({ ...this.#state, retryAt: null });
    try {
      const codec = this.#codec ?? (await this.#loadCodec());
      this.#codec = codec;
      const token = await this.#getToken();
      if (attempt !== this.#attempt) return;
      const url = this.#urls[this.#backoff.attempt % this.#urls.length] ?? "";
      this.#connection = new Connection(url, token, codec, this.#environment, this.#clock, {
        welcome: (frame) => this.#welcome(frame),
        frame: (frame, received) => this.#frame(frame, received),
        closed: (error) => this.#closed(error),
      });
    } catch (cause) {
      if (attempt === this.#attempt) this.#closed(asError(cause));
    }
  }

  async #loadCodec(): Promise<Codec> {
    const choice = this.#options.codec ?? "protobuf";
    if (typeof choice === "object") return choice;
    if (choice === "json") return jsonCodec();
    try {
      return (await import("./protobuf.ts")).protobufCodec();
    } catch (cause) {
      const remediation = "Check that the page may load its own scripts, or choose the JSON codec.";
      throw localError("CODEC_UNAVAILABLE", "the protobuf codec could not be loaded", remediation, cause);
    }
  }

  async #getToken(): Promise<string> {
    try {
      return await this.#options.getToken();
    } catch (cause) {
      if (cause instanceof LanecastError) throw cause;
      const remediation =
        "Check the service behind `getToken`; throw a LanecastError that is not retryable to give up.";
      throw localError("TOKEN_UNAVAILABLE", "no token could be had", remediation, cause);
    }
  }

  #welcome(frame: WelcomeFrame): void {
    this.#backoff.reset();
    this.#counts.connections += 1;
    this.#setState({ status: "connected", error: null, retryAt: null, session: frame.session });
    for (const hub of this.#hubs.values()) hub.request();
    this.#planTokenRefresh(frame.tokenExpiresMs);
    this.#settle((waiter) => waiter.resolve());
  }

  #closed(error: LanecastError): void {
    this.#drop();
    if (!error.retryable) {
      this.#setState({ status: "failed", error, retryAt: null, session: null });
      this.#settle((waiter) => waiter.reject(error));
      for (const hub of this.#hubs.values()) hub.failed(error);
      return;
    }
    const now = Date.now();
    const delay = this.#drainSlot === null ? this.#backoff.next() : Math.max(0, this.#drainSlot - now);
    this.#setState({ status: "reconnecting", error, retryAt: now + delay, session: null });
    this.#retryTimer = setTimeout(() => void this.#open(), delay);
  }

  /** Lets go of the connection and all timers; what is still under way no longer counts. */
  #drop(): void {
    this.#attempt += 1;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#receiptTimer);
    clearTimeout(this.#tokenTimer);
    this.#receiptTimer = undefined;
    this.#connection?.close();
    this.#connection = null;
    for (const hub of this.#hubs.values()) hub.disconnected();
  }

  /** The page is back, or the network is: do not wait for a timer that may have slept. */
  readonly #wake = () => {
    if (this.#environment.hidden()) return;
    if (this.#state.status === "connected") this.#connection?.checkAlive();
    else if (this.#retryTimer !== undefined && this.#drainSlot === null) {
      clearTimeout(this.#retryTimer);
      void this.#open();
    }
  };

  #drain(afterMs: number): void {
    this.#drainSlot = Date.now() + afterMs;
    this.#retryTimer = setTimeout(() => {
      // The server has kept the connection up to the slot: it is ours to end.
      this.#connection?.abandon(closeError(1001, ""));
    }, afterMs);
  }

  // --- frames ---

  #frame(frame: ServerFrame, received: Micros): void {
    this.#watchClock();
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
      case "drain":
        this.#drain(frame.reconnectAfterMs);
        return;
      case "tokenRefreshed":
        this.#planTokenRefresh(frame.tokenExpiresMs);
        return;
    }
  }

  #events(frame: EventsFrame, received: Micros): void {
    const clock = this.#clock.estimate(received);
    const latencyOf = (event: WireEvent): Latency | null => {
      const latency = measure(event, frame, received, clock);
      if (latency) this.#report(event, frame, latency);
      return latency;
    };
    const accepted = this.#hubs.get(frame.channel)?.events(frame, latencyOf);
    this.#counts.received += accepted?.events.length ?? 0;
  }

  #report(event: WireEvent, frame: EventsFrame, latency: Latency): void {
    const lastMileMs = latency.hops.last_mile;
    if (this.#options.receipts === false || lastMileMs === undefined || this.#environment.hidden()) return;
    this.#receipts.add({
      lane: frame.lane,
      offset: event.offset,
      type: event.type,
      lastMileMicros: Math.round(lastMileMs * 1000),
      uncertaintyMicros: Math.round(latency.uncertaintyMs * 1000),
      endToEndMicros: event.sendTime > 0 ? Math.round(latency.oneWayMs * 1000) : 0,
      traceContext: event.traceContext,
    });
    this.#receiptTimer ??= setTimeout(() => {
      this.#receiptTimer = undefined;
      const samples = this.#receipts.take();
      this.#counts.receiptsSent += samples.length;
      this.#command({ kind: "receipt", samples });
    }, RECEIPT_INTERVAL_MS);
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
    const known = closeError(frame.code, frame.message);
    const { remediation } = known;
    hub.end(
      new LanecastError(frame.reason || known.code, frame.message || known.message, {
        retryable: false,
        remediation,
        channel: frame.channel,
        closeCode: frame.code,
      }),
    );
  }

  /** Forgets the clock's difference where one of the two local clocks has jumped. */
  #watchClock(): void {
    const before = this.#environment.now();
    const wall = this.#environment.wallClock();
    // A process that was held between the two readings would look like a clock that was set.
    if (this.#environment.now() - before > CLOCK_STEP_MICROS / 10) return;
    const step = wall - before;
    if (this.#clockStep !== null && Math.abs(step - this.#clockStep) > CLOCK_STEP_MICROS) this.#clock.reset();
    this.#clockStep = step;
  }

  /** Fetches the next token when a fifth of this one's life is left. */
  #planTokenRefresh(expiresMs: number): void {
    clearTimeout(this.#tokenTimer);
    if (expiresMs === 0) return;
    const delay = Math.min(LONGEST_TIMER_MS, Math.max(1_000, (expiresMs - Date.now()) * 0.8));
    this.#tokenTimer = setTimeout(() => void this.#refreshToken(), delay);
  }

  async #refreshToken(): Promise<void> {
    const attempt = this.#attempt;
    try {
      const token = await this.#getToken();
      if (attempt === this.#attempt) this.#command({ kind: "refreshToken", token });
    } catch {
      // The session lives on until its token ends; the reconnect after that asks again and reports what is wrong.
    }
  }

  // --- state ---

  #setState(state: ConnectionState): void {
    this.#state = state;
    for (const listener of [...this.#stateListeners]) guard(() => listener(state));
  }

  #settle(act: (waiter: { resolve(): void; reject(error: LanecastError): void }) => void): void {
    for (const waiter of this.#connectWaiters.splice(0)) act(waiter);
  }
}

function closedError(): LanecastError {
  return new LanecastError("CLOSED", "the client is closed", {
    retryable: false,
    remediation: "Make a new client with createClient.",
  });
}

function asError(cause: unknown): LanecastError {
  if (cause instanceof LanecastError) return cause;
  if (cause instanceof DOMException) {
    // The WebSocket constructor refuses an address that cannot work, however often it is tried.
    const remediation = "Pass a ws:// or wss:// address; a page served over https needs wss.";
    return new LanecastError("BAD_URL", cause.message, { retryable: false, remediation, cause });
  }
  return localError("CONNECTION_LOST", String(cause), "Check the gateway's address; the SDK tries again.", cause);
}
