// The frames of the WebSocket protocol as the SDK works with them, whatever codec carried them. Types only, and the
// names of lanes and reasons. Made and read by the codecs; decided upon by the client and the channel state.

/** Microseconds since the Unix epoch. A double holds today's dates to a quarter of a microsecond. Zero: unknown. */
export type Micros = number;

/** The lanes, most urgent first. */
export const LANES = ["CRITICAL", "HIGH", "NORMAL", "LOW"] as const;
export type Lane = (typeof LANES)[number];

/** A place in one lane of a channel: everything up to and including `offset` has been handled. */
export interface Position {
  readonly lane: Lane;
  readonly epoch: string;
  readonly offset: bigint;
}

/** Why events will not come. `UNEXPLAINED` is the SDK's own: a hole that a recovery did not close. */
export type GapReason =
  | "TRUNCATED"
  | "CONFLATED"
  | "EXPIRED"
  | "SHED"
  | "AHEAD"
  | "EPOCH_UNKNOWN"
  | "UNEXPLAINED"
  | "UNSPECIFIED";

export type Start = "LATEST" | "EARLIEST" | "LAST_N";

export type Arm = "BASELINE" | "CANDIDATE";

/** A field-by-field image of `lanecast.v1.Event`; the payload is already decoded to its ProtoJSON form. */
export interface WireEvent {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly data: unknown;
  readonly traceContext: Uint8Array;
  readonly offset: bigint;
  readonly prevOffset: bigint;
  readonly createTime: Micros;
  readonly sendTime: Micros;
  readonly acceptTime: Micros;
  readonly storeTime: Micros;
}

export interface EventsFrame {
  readonly kind: "events";
  readonly channel: string;
  readonly lane: Lane;
  readonly epoch: string;
  readonly events: readonly WireEvent[];
  readonly flushTime: Micros;
  readonly edgeReceiveTime: Micros;
  readonly edgeSendTime: Micros;
  readonly replayed: boolean;
  readonly policy: string;
  readonly arm: Arm | null;
  readonly generation: bigint;
}

export interface WelcomeFrame {
  readonly kind: "welcome";
  readonly session: string;
  readonly serverTime: Micros;
  readonly heartbeatMs: number;
  /** Zero: no limit was stated. */
  readonly maxCommandsPerSecond: number;
  /** Milliseconds since the Unix epoch. Zero: unknown. */
  readonly tokenExpiresMs: number;
}

export interface SubscribedFrame {
  readonly kind: "subscribed";
  readonly channel: string;
  readonly positions: readonly Position[];
  readonly wasRecovering: boolean;
  readonly recovered: boolean;
}

export interface GapFrame {
  readonly kind: "gap";
  readonly channel: string;
  readonly lane: Lane;
  readonly epoch: string;
  readonly fromOffset: bigint;
  readonly toOffset: bigint;
  readonly reason: GapReason;
  /** Zero: unknown. */
  readonly count: number;
}

export interface AdvanceFrame {
  readonly kind: "advance";
  readonly channel: string;
  readonly lane: Lane;
  readonly epoch: string;
  readonly throughOffset: bigint;
}

export interface PingFrame {
  readonly kind: "ping";
  readonly sequence: bigint;
  readonly serverSend: Micros;
  readonly previousServerSend: Micros;
  readonly previousClientReceive: Micros;
  readonly previousClientSend: Micros;
  readonly previousServerReceive: Micros;
}

export interface ErrorFrame {
  readonly kind: "error";
  readonly code: number;
  readonly reason: string;
  readonly message: string;
  readonly channel: string;
  readonly retryable: boolean;
  readonly fatal: boolean;
}

export interface DrainFrame {
  readonly kind: "drain";
  readonly reconnectAfterMs: number;
}

export type ServerFrame =
  | WelcomeFrame
  | SubscribedFrame
  | EventsFrame
  | GapFrame
  | AdvanceFrame
  | PingFrame
  | ErrorFrame
  | DrainFrame
  | { readonly kind: "unsubscribed"; readonly channel: string }
  | { readonly kind: "tokenRefreshed"; readonly tokenExpiresMs: number };

export interface SubscribeFrame {
  readonly kind: "subscribe";
  readonly channel: string;
  readonly lanes: readonly Lane[];
  readonly start: Start;
  readonly lastN: number;
  readonly positions: readonly Position[];
}

export interface ReceiptSample {
  readonly lane: Lane;
  readonly offset: bigint;
  readonly type: string;
  readonly lastMileMicros: number;
  readonly uncertaintyMicros: number;
  readonly endToEndMicros: number;
  readonly traceContext: Uint8Array;
}

export type ClientFrame =
  | { readonly kind: "hello"; readonly token: string; readonly client: string }
  | SubscribeFrame
  | { readonly kind: "unsubscribe"; readonly channel: string }
  | {
      readonly kind: "pong";
      readonly sequence: bigint;
      readonly receive: Micros;
      readonly send: Micros;
      readonly probe: boolean;
    }
  | { readonly kind: "receipt"; readonly samples: readonly ReceiptSample[] }
  | { readonly kind: "refreshToken"; readonly token: string };

/** Turns frames into messages of one subprotocol and back. */
export interface Codec {
  readonly subprotocol: string;
  encode(frame: ClientFrame): string | Uint8Array<ArrayBuffer>;
  /** Returns null for a kind of frame this version does not know: it is skipped. Throws where the message is malformed. */
  decode(message: string | ArrayBuffer): ServerFrame | null;
}
