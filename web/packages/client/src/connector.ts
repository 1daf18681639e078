// Keeps a client connected: when to open a connection, when to try again, with which token, and what state that is.
// Owned by the client, which is told of each frame; knows nothing of channels.

import { Backoff } from "./backoff.ts";
import type { ClockEstimator } from "./clock.ts";
import { Connection } from "./connection.ts";
import type { Environment } from "./environment.ts";
import { asError, closedError, closeError, LanecastError, localError } from "./errors.ts";
import type { ClientFrame, Codec, Micros, ServerFrame } from "./frames.ts";
import type { ClientOptions, ConnectionState } from "./types.ts";

/** The longest delay a timer takes, in milliseconds. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const LIFECYCLE = ["online", "pageshow", "pagehide", "visibilitychange"];

/** What a client does about its connection. */
export interface ConnectorEvents {
  changed(state: ConnectionState): void;
  connected(): void;
  /** What the connection was to bring will not come; there may be another one later. */
  disconnected(): void;
  /** An attempt has failed, and another one is planned; `failures` in a row by now. */
  retrying(failures: number): void;
  /** No attempt is planned any more. */
  failed(error: LanecastError): void;
  frame(frame: ServerFrame, received: Micros): void;
  /** The page is in front of somebody again, or the network is back. */
  woken(): void;
}

export class Connector {
  readonly #options: ClientOptions;
  readonly #urls: readonly string[];
  readonly #environment: Environment;
  readonly #backoff: Backoff;
  readonly #clock: ClockEstimator;
  readonly #events: ConnectorEvents;
  #waiters: { resolve(): void; reject(error: LanecastError): void }[] = [];
  #state: ConnectionState = { status: "idle", error: null, retryAt: null, session: null };
  #codec: Codec | null = null;
  #connection: Connection | null = null;
  /** Grows with each attempt; what an older attempt still brings is ignored. */
  #attempt = 0;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #tokenTimer: ReturnType<typeof setTimeout> | undefined;
  /** When the server's drain lets this client come back, milliseconds since the Unix epoch. */
  #drainSlot: number | null = null;
  #polling = false;

  constructor(options: ClientOptions, environment: Environment, clock: ClockEstimator, events: ConnectorEvents) {
    this.#options = options;
    this.#urls = typeof options.url === "string" ? [options.url] : options.url;
    if (this.#urls.length === 0) throw new TypeError("createClient needs at least one url");
    this.#environment = environment;
    this.#backoff = new Backoff(options.backoff ?? {}, environment.random);
    this.#clock = clock;
    this.#events = events;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** The address of the next attempt. */
  get url(): string {
    return this.#urls[this.#backoff.attempt % this.#urls.length] ?? "";
  }

  get connected(): boolean {
    return this.#state.status === "connected";
  }

  connect(): Promise<void> {
    if (this.connected) return Promise.resolve();
    if (this.#state.status === "closed") return Promise.reject(closedError());
    const connected = new Promise<void>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    this.start();
    return connected;
  }

  /** Begins to connect, unless that is under way. */
  start(): void {
    const { status } = this.#state;
    if (status !== "idle" && status !== "failed") return;
    if (status === "idle") this.#listen("addEventListener");
    this.#setState({ status: "connecting", error: null, retryAt: null, session: null });
    void this.#open();
  }

  /** Ends everything for good. */
  close(): void {
    this.#drop();
    this.#listen("removeEventListener");
    this.#setState({ status: "closed", error: null, retryAt: null, session: null });
    this.#settle((waiter) => waiter.reject(closedError()));
  }

  /** Sends a command now; without a connection it is not kept, since every channel is requested anew on `welcome`. */
  command(frame: ClientFrame): void {
    if (this.connected) this.#connection?.command(frame);
  }

  /** Notes whether events come by polls until there is a connection again. */
  polling(works: boolean): void {
    this.#polling = works;
    const { status } = this.#state;
    const shown = works ? "polling" : "reconnecting";
    if ((status === "polling" || status === "reconnecting") && status !== shown) {
      this.#setState({ ...this.#state, status: shown });
    }
  }

  async getToken(): Promise<string> {
    try {
      return await this.#options.getToken();
    } catch (cause) {
      if (cause instanceof LanecastError) throw cause;
      const remediation =
        "Check the service behind `getToken`; throw a LanecastError that is not retryable to give up.";
      throw localError("TOKEN_UNAVAILABLE", "no token could be had", remediation, cause);
    }
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
      const token = await this.getToken();
      if (attempt !== this.#attempt) return;
      this.#connection = new Connection(this.url, token, codec, this.#environment, this.#clock, {
        welcome: ({ session, tokenExpiresMs }) => this.#welcome(session, tokenExpiresMs),
        frame: (frame, received) => this.#frame(frame, received),
        closed: (error) => this.lost(error),
      });
    } catch (cause) {
      if (attempt === this.#attempt) this.lost(asError(cause));
    }
  }

  async #loadCodec(): Promise<Codec> {
    const choice = this.#options.codec ?? "protobuf";
    if (typeof choice === "object") return choice;
    try {
      if (choice === "json") return (await import("./json.ts")).jsonCodec();
      // Reading the descriptors holds the page for tens of milliseconds when the code is cold: in two parts, with a turn of
      // the page between them, neither is long enough to be noticed.
      await import("./gen/lanecast/v1/event_pb.ts");
      await new Promise((resolve) => setTimeout(resolve));
      return (await import("./protobuf.ts")).protobufCodec();
    } catch (cause) {
      const remediation = "Check that the page may load its own scripts; the SDK tries again.";
      throw localError("CODEC_UNAVAILABLE", "the codec could not be loaded", remediation, cause);
    }
  }

  #welcome(session: string, tokenExpiresMs: number): void {
    this.#backoff.reset();
    this.#polling = false;
    this.#setState({ status: "connected", error: null, retryAt: null, session });
    this.#events.connected();
    this.#planTokenRefresh(tokenExpiresMs);
    this.#settle((waiter) => waiter.resolve());
  }

  #frame(frame: ServerFrame, received: Micros): void {
    if (frame.kind === "drain") this.#drain(frame.reconnectAfterMs);
    else if (frame.kind === "tokenRefreshed") this.#planTokenRefresh(frame.tokenExpiresMs);
    else this.#events.frame(frame, received);
  }

  /** The connection, or the attempt at one, has come to an end. */
  lost(error: LanecastError): void {
    this.#drop();
    if (!error.retryable) {
      this.#setState({ status: "failed", error, retryAt: null, session: null });
      this.#settle((waiter) => waiter.reject(error));
      this.#events.failed(error);
      return;
    }
    const now = Date.now();
    const delay = this.#drainSlot === null ? this.#backoff.next() : Math.max(0, this.#drainSlot - now);
    const status = this.#polling ? "polling" : "reconnecting";
    this.#setState({ status, error, retryAt: now + delay, session: null });
    this.#retryTimer = setTimeout(() => void this.#open(), delay);
    this.#events.retrying(this.#backoff.attempt);
  }

  /** Lets go of the connection and all timers; what is still under way no longer counts. */
  #drop(): void {
    this.#attempt += 1;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#tokenTimer);
    this.#connection?.close();
    this.#connection = null;
    this.#events.disconnected();
  }

  #listen(act: "addEventListener" | "removeEventListener"): void {
    for (const target of this.#environment.lifecycle) for (const type of LIFECYCLE) target[act](type, this.#turn);
  }

  /** The page is back, or the network is: do not wait for a timer that may have slept. */
  readonly #turn = (event: { readonly type?: string; readonly persisted?: boolean }) => {
    if (event.type === "pagehide") this.#suspend(event.persisted === true);
    else if (!this.#environment.hidden()) this.#wake();
  };

  #wake(): void {
    if (this.connected) this.#connection?.checkAlive();
    else if (this.#retryTimer !== undefined && this.#drainSlot === null) {
      clearTimeout(this.#retryTimer);
      void this.#open();
    }
    this.#events.woken();
  }

  /** A browser keeps no page for "back" that holds a socket, or ends the socket without a word. */
  #suspend(kept: boolean): void {
    if (!kept || !this.connected) return;
    this.lost(localError("CONNECTION_LOST", "the page was left", "The SDK reconnects when it is shown again."));
  }

  #drain(afterMs: number): void {
    this.#drainSlot = Date.now() + afterMs;
    this.#retryTimer = setTimeout(() => {
      // The server has kept the connection up to the slot: it is ours to end.
      this.#connection?.abandon(closeError(1001, ""));
    }, afterMs);
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
      const token = await this.getToken();
      if (attempt === this.#attempt) this.command({ kind: "refreshToken", token });
    } catch {
      // The session lives on until its token ends; the reconnect after that asks again and reports what is wrong.
    }
  }

  #setState(state: ConnectionState): void {
    this.#state = state;
    this.#events.changed(state);
  }

  #settle(act: (waiter: { resolve(): void; reject(error: LanecastError): void }) => void): void {
    for (const waiter of this.#waiters.splice(0)) act(waiter);
  }
}
