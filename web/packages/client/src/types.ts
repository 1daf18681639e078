// The public types of the SDK: what an application passes in and gets back.

import type { BackoffOptions } from "./backoff.ts";
import type { Continuity, Gap, Since } from "./channel-state.ts";
import type { ClockEstimate } from "./clock.ts";
import type { Environment } from "./environment.ts";
import type { LanecastError } from "./errors.ts";
import type { Arm, Codec, Lane, Position } from "./frames.ts";
import type { Latency } from "./latency.ts";

/** Maps the full name of a payload type to the shape of its data. */
export type EventTypes = object;

/** How an event came: live, read from the log to bring the client up to date, by a poll where no WebSocket comes through,
 * or from what this device has kept. */
export type DeliveryKind = "live" | "recovered" | "polled" | "cached";

/** What every event carries besides its payload. */
export interface EventEnvelope {
  readonly channel: string;
  readonly lane: Lane;
  readonly epoch: string;
  readonly offset: bigint;
  readonly id: string;
  /** The service that produced the event. */
  readonly source: string;
  /** When the application published it, by its own clock. Null: unknown. */
  readonly createTime: Date | null;
  readonly delivery: DeliveryKind;
  /** Null where the event was not live, or the clocks are not known yet. */
  readonly latency: Latency | null;
  /** The delivery policy and, during a rollout, the side of it. */
  readonly policy: string;
  readonly arm: Arm | null;
  /** W3C trace context, 25 bytes; empty: none. */
  readonly traceContext: Uint8Array;
}

/**
 * One event. A union over `M`, so that comparing `type` narrows `data`. Data is in ProtoJSON form: names in
 * lowerCamelCase, enums by name, 64-bit integers and times as strings, default values left out. At run time a channel
 * may carry types that `M` does not name; one that the codec does not know has the data `{ value: base64 }`.
 */
export type LanecastEvent<M extends EventTypes> = {
  [T in keyof M & string]: EventEnvelope & { readonly type: T; readonly data: M[T] };
}[keyof M & string];

export type ConnectionStatus =
  | "idle"
  | "connecting"
  | "connected"
  | "reconnecting"
  /** CRITICAL events come by polls; the next attempt to connect is planned or under way. */
  | "polling"
  | "closed"
  | "failed";

/** The state of the connection. An immutable value: a new one is made for each change. */
export interface ConnectionState {
  readonly status: ConnectionStatus;
  /** Why the last connection ended, or why there is none. */
  readonly error: LanecastError | null;
  /** When the next attempt is due, milliseconds since the Unix epoch; null: none is planned. */
  readonly retryAt: number | null;
  /** The server's name for the session while connected. */
  readonly session: string | null;
}

/** What a device has kept of one channel. */
export interface Kept {
  /** Oldest first. */
  readonly events: readonly KeptEvent[];
  /** Where each lane stands: everything up to there was handed to the application before. */
  readonly positions: readonly Position[];
}

/** An event as it is kept: without what is true of one delivery only. */
export type KeptEvent = Omit<EventEnvelope, "delivery" | "latency"> & { readonly type: string; readonly data: unknown };

/** Where the client keeps events. Events and the positions they lead to are stored together or not at all. */
export interface OfflineCache {
  /** What was kept of a channel. A rejection counts as nothing kept. */
  restore(channel: string): Promise<Kept>;
  /** Takes events that were handed to the application, and where that leaves the lanes. Must neither wait nor throw. */
  keep(channel: string, events: readonly KeptEvent[], positions: readonly Position[]): void;
}

/** When and how CRITICAL events are fetched where no WebSocket comes through. */
export interface PollingOptions {
  /** Failed attempts to connect, in a row, after which polling begins. Default: 3. */
  readonly afterFailures?: number;
  /** Default: the address of the WebSocket, with `http` for `ws` and `/poll` for `/ws` at its end. */
  readonly url?: string;
}

export interface ClientOptions {
  /** The gateway's WebSocket address, or several that are tried in turn. */
  readonly url: string | readonly string[];
  /** Asked for a token at each attempt to connect and before a token ends. */
  readonly getToken: () => string | Promise<string>;
  /** Default: `protobuf`. Either is loaded when it is first needed. */
  readonly codec?: "protobuf" | "json" | Codec;
  readonly backoff?: BackoffOptions;
  /** False: never polls. */
  readonly polling?: PollingOptions | false;
  /** Keeps events and positions on the device, so that a page that opens without a network has something to show, and
   * goes on from there. See `@lanecast/client/offline`. */
  readonly offline?: OfflineCache;
  /** Report a sample of measured latencies to the gateway. Default: true. */
  readonly receipts?: boolean;
  /** For tests and unusual surroundings. */
  readonly environment?: Partial<Environment>;
}

export interface SubscribeOptions {
  /** Where to begin. The first subscription of a channel decides; later ones join where it stands. Default: latest. */
  readonly since?: Since;
  /** The lanes to receive. Default: all. */
  readonly lanes?: readonly Lane[];
  /** Told of every stretch of events that will not come. */
  readonly onGap?: (gap: Gap) => void;
  /** Told where events are missing that a slow reader's rules do not explain: read the state anew from its source. */
  readonly onUnrecoverable?: (gap: Gap) => void;
  /** Told why the subscription has ended. */
  readonly onError?: (error: LanecastError) => void;
  /** Ends the subscription. */
  readonly signal?: AbortSignal;
}

export interface Subscription {
  /** Resolves once the server has accepted; rejects with the reason where it refuses. */
  ready(): Promise<void>;
  continuity(): Continuity;
  unsubscribe(): void;
}

export interface EventsOptions extends Omit<SubscribeOptions, "onError"> {
  /** Events that may wait for the loop; the one after ends it with `SLOW_READER`. Default: 1,024. */
  readonly capacity?: number;
}

export interface Channel<M extends EventTypes> {
  readonly name: string;
  subscribe(listener: (event: LanecastEvent<M>) => void, options?: SubscribeOptions): Subscription;
  /** The same as an async iterable; leaving the loop unsubscribes. */
  events(options?: EventsOptions): AsyncIterableIterator<LanecastEvent<M>>;
}

export interface Statistics {
  readonly received: number;
  readonly duplicates: number;
  readonly gaps: number;
  readonly connections: number;
  readonly subscriptions: number;
  readonly receiptsSent: number;
}

export interface Client<M extends EventTypes> {
  readonly state: ConnectionState;
  /** The difference to the gateway's clock; null until it is known. */
  readonly clock: ClockEstimate | null;
  /** Connects; a subscription does so too. Rejects where a retry would not help. */
  connect(): Promise<void>;
  channel(name: string): Channel<M>;
  /** Calls `listener` at each change of `state`; returns the function that stops it. */
  onState(listener: (state: ConnectionState) => void): () => void;
  statistics(): Statistics;
  /** Ends everything; idempotent. A closed client stays closed. */
  close(): void;
}
