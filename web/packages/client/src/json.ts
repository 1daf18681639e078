// The codec of the subprotocol `lanecast.v1.json`: ProtoJSON of lanecast.v1.ClientFrame and ServerFrame, without any
// protobuf library. Reads leniently as ProtoJSON asks: a field left out has its default, integers may be strings.

import type { ClientFrame, Codec, GapReason, Lane, Micros, Position, ServerFrame, WireEvent } from "./frames.ts";
import { LANES } from "./frames.ts";

type Json = Readonly<Record<string, unknown>>;

/** Makes the JSON codec. */
export function jsonCodec(): Codec {
  return {
    subprotocol: "lanecast.v1.json",
    encode: (frame) => JSON.stringify(encodeFrame(frame)),
    decode: (message) => {
      if (typeof message !== "string") throw new TypeError("a binary message in the JSON subprotocol");
      return decodeFrame(object(JSON.parse(message)));
    },
  };
}

function encodeFrame(frame: ClientFrame): Json {
  switch (frame.kind) {
    case "hello":
      return { hello: { token: frame.token, client: frame.client } };
    case "subscribe":
      return {
        subscribe: {
          channel: frame.channel,
          lanes: frame.lanes.map(priority),
          start: `START_${frame.start}`,
          lastN: frame.lastN,
          positions: frame.positions.map(({ lane, epoch, offset }) => ({
            lane: priority(lane),
            epoch,
            offset: String(offset),
          })),
        },
      };
    case "unsubscribe":
      return { unsubscribe: { channel: frame.channel } };
    case "pong":
      return {
        pong: {
          sequence: String(frame.sequence),
          clientReceiveTimeUnixNano: nanos(frame.receive),
          clientSendTimeUnixNano: nanos(frame.send),
          probe: frame.probe,
        },
      };
    case "receipt":
      return {
        receipt: {
          samples: frame.samples.map((sample) => ({
            lane: priority(sample.lane),
            offset: String(sample.offset),
            lastMileMicros: String(sample.lastMileMicros),
            uncertaintyMicros: sample.uncertaintyMicros,
            type: sample.type,
            endToEndMicros: String(sample.endToEndMicros),
            traceContext: btoa(String.fromCharCode(...sample.traceContext)),
          })),
        },
      };
    case "refreshToken":
      return { refreshToken: { token: frame.token } };
  }
}

const DECODERS: Readonly<Record<string, (body: Json) => ServerFrame>> = {
  welcome: (body) => ({
    kind: "welcome",
    session: text(body.session),
    serverTime: micros(body.serverTimeUnixNano),
    heartbeatMs: Number(body.heartbeatMillis ?? 0),
    maxCommandsPerSecond: Number(object(body.limits).maxCommandsPerSecond ?? 0),
    tokenExpiresMs: Number(body.tokenExpiresUnix ?? 0) * 1000,
  }),
  subscribed: (body) => ({
    kind: "subscribed",
    channel: text(body.channel),
    positions: list(body.positions).map(position),
    wasRecovering: body.wasRecovering === true,
    recovered: body.recovered === true,
  }),
  events: (body) => ({
    kind: "events",
    channel: text(body.channel),
    lane: lane(body.lane),
    epoch: text(body.epoch),
    events: list(body.events).map(event),
    flushTime: micros(body.flushTimeUnixNano),
    edgeReceiveTime: micros(body.edgeReceiveTimeUnixNano),
    edgeSendTime: micros(body.edgeSendTimeUnixNano),
    replayed: body.replayed === true,
    policy: text(body.policy),
    arm: body.arm === "ARM_BASELINE" ? "BASELINE" : body.arm === "ARM_CANDIDATE" ? "CANDIDATE" : null,
    generation: integer(body.generation),
  }),
  gap: (body) => ({
    kind: "gap",
    channel: text(body.channel),
    lane: lane(body.lane),
    epoch: text(body.epoch),
    fromOffset: integer(body.fromOffset),
    toOffset: integer(body.toOffset),
    reason: text(body.reason).replace("GAP_REASON_", "") as GapReason,
    count: Number(body.count ?? 0),
  }),
  advance: (body) => ({
    kind: "advance",
    channel: text(body.channel),
    lane: lane(body.lane),
    epoch: text(body.epoch),
    throughOffset: integer(body.throughOffset),
  }),
  ping: (body) => ({
    kind: "ping",
    sequence: integer(body.sequence),
    serverSend: micros(body.serverSendTimeUnixNano),
    previousServerSend: micros(body.previousServerSendTimeUnixNano),
    previousClientReceive: micros(body.previousClientReceiveTimeUnixNano),
    previousClientSend: micros(body.previousClientSendTimeUnixNano),
    previousServerReceive: micros(body.previousServerReceiveTimeUnixNano),
  }),
  error: (body) => ({
    kind: "error",
    code: Number(body.code ?? 0),
    reason: text(body.reason),
    message: text(body.message),
    channel: text(body.channel),
    retryable: body.retryable === true,
    fatal: body.fatal === true,
  }),
  drain: (body) => ({ kind: "drain", reconnectAfterMs: Number(body.reconnectAfterMillis ?? 0) }),
  unsubscribed: (body) => ({ kind: "unsubscribed", channel: text(body.channel) }),
  tokenRefreshed: (body) => ({ kind: "tokenRefreshed", tokenExpiresMs: Number(body.tokenExpiresUnix ?? 0) * 1000 }),
};

/** Reads a frame in its ProtoJSON form; null for a kind that this version does not know. */
export function decodeFrame(frame: Json): ServerFrame | null {
  for (const [name, body] of Object.entries(object(frame))) {
    const decode = DECODERS[name];
    if (decode) return decode(object(body));
  }
  return null;
}

function event(value: unknown): WireEvent {
  const body = object(value);
  const { "@type": typeUrl, ...data } = object(body.data);
  return {
    id: text(body.id),
    source: text(body.source),
    type: text(typeUrl).split("/").pop() ?? "",
    data,
    traceContext: Uint8Array.from(atob(text(body.traceContext)), (letter) => letter.charCodeAt(0)),
    offset: integer(body.offset),
    prevOffset: integer(body.prevOffset),
    createTime: micros(body.createTimeUnixNano),
    sendTime: micros(body.sendTimeUnixNano),
    acceptTime: micros(body.acceptTimeUnixNano),
    storeTime: micros(body.storeTimeUnixNano),
  };
}

function position(value: unknown): Position {
  const body = object(value);
  return { lane: lane(body.lane), epoch: text(body.epoch), offset: integer(body.offset) };
}

function priority(name: Lane): string {
  return `PRIORITY_${name}`;
}

function lane(value: unknown): Lane {
  const name = text(value).replace("PRIORITY_", "");
  const found = LANES.find((candidate) => candidate === name);
  if (!found) throw new TypeError(`unknown lane ${JSON.stringify(value)}`);
  return found;
}

function object(value: unknown): Json {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw new TypeError("expected a JSON object");
  return value as Json;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function integer(value: unknown): bigint {
  return typeof value === "string" || typeof value === "number" ? BigInt(value) : 0n;
}

function micros(value: unknown): Micros {
  return Number(value ?? 0) / 1000;
}

function nanos(value: Micros): string {
  return String(BigInt(Math.round(value * 1000)));
}
