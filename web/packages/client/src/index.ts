// The public API of @lanecast/client. Everything an application may rely on is named here.

export type { AiEvents } from "./ai.ts";
export type { BackoffOptions } from "./backoff.ts";
export type { Continuity, Gap, Since } from "./channel-state.ts";
export { createClient } from "./client.ts";
export type { ClockEstimate } from "./clock.ts";
export type { Environment, LifecycleEvent, LifecycleTarget, WebSocketLike } from "./environment.ts";
export { LanecastError, type LanecastErrorOptions } from "./errors.ts";
export { type Arm, type Codec, type GapReason, LANES, type Lane, type Position } from "./frames.ts";
export { HOPS, type Hop, type Latency, type LatencyGrade } from "./latency.ts";
export type {
  Channel,
  Client,
  ClientOptions,
  ConnectionState,
  ConnectionStatus,
  DeliveryKind,
  EventEnvelope,
  EventsOptions,
  EventTypes,
  Kept,
  KeptEvent,
  LanecastEvent,
  OfflineCache,
  PollingOptions,
  Statistics,
  SubscribeOptions,
  Subscription,
} from "./types.ts";
export { VERSION } from "./version.ts";
