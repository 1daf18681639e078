// The codec of the subprotocol `lanecast.v1.proto`. A module of its own, so that who speaks JSON loads no protobuf
// runtime. Payloads come out in their ProtoJSON form, so an application sees the same data from either codec.

import {
  create,
  createRegistry,
  type DescFile,
  fromBinary,
  type MessageInitShape,
  type Registry,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { AdvanceFrame, ClientFrame, Codec, EventsFrame, GapFrame, Lane, Micros, ServerFrame } from "./frames.ts";
import { file_lanecast_ai_v1_analytics } from "./gen/lanecast/ai/v1/analytics_pb.ts";
import { file_lanecast_ai_v1_bots } from "./gen/lanecast/ai/v1/bots_pb.ts";
import { file_lanecast_ai_v1_concierge } from "./gen/lanecast/ai/v1/concierge_pb.ts";
import { file_lanecast_ai_v1_strategy } from "./gen/lanecast/ai/v1/strategy_pb.ts";
import {
  type Advance,
  Arm,
  type Event,
  type EventBatch,
  type Gap,
  GapReason,
  type LanePosition,
  Priority,
} from "./gen/lanecast/v1/event_pb.ts";
import {
  ClientFrameSchema,
  type ServerFrame as ServerFrameMessage,
  ServerFrameSchema,
  type Welcome,
} from "./gen/lanecast/v1/gateway_pb.ts";
import { Start } from "./gen/lanecast/v1/publisher_pb.ts";

/** Settings of the protobuf codec. */
export interface ProtobufCodecOptions {
  /** Generated files with further payload types; those of `lanecast.ai.v1` are always known. */
  readonly files?: readonly DescFile[];
}

/** Makes the protobuf codec. */
export function protobufCodec(options: ProtobufCodecOptions = {}): Codec {
  const registry = createRegistry(
    file_lanecast_ai_v1_analytics,
    file_lanecast_ai_v1_bots,
    file_lanecast_ai_v1_concierge,
    file_lanecast_ai_v1_strategy,
    ...(options.files ?? []),
  );
  return {
    subprotocol: "lanecast.v1.proto",
    encode: (frame) =>
      toBinary(ClientFrameSchema, create(ClientFrameSchema, { frame: encodeFrame(frame) })) as Uint8Array<ArrayBuffer>,
    decode: (message) => {
      if (typeof message === "string") throw new TypeError("a text message in the protobuf subprotocol");
      return decodeFrame(fromBinary(ServerFrameSchema, new Uint8Array(message)), registry);
    },
  };
}

type ClientFrameInit = NonNullable<MessageInitShape<typeof ClientFrameSchema>["frame"]>;

function encodeFrame(frame: ClientFrame): ClientFrameInit {
  switch (frame.kind) {
    case "hello":
      return { case: "hello", value: { token: frame.token, client: frame.client } };
    case "subscribe":
      return {
        case: "subscribe",
        value: {
          channel: frame.channel,
          lanes: frame.lanes.map((lane) => Priority[lane]),
          start: Start[frame.start],
          lastN: frame.lastN,
          positions: frame.positions.map(({ lane, epoch, offset }) => ({ lane: Priority[lane], epoch, offset })),
        },
      };
    case "unsubscribe":
      return { case: "unsubscribe", value: { channel: frame.channel } };
    case "pong":
      return {
        case: "pong",
        value: {
          sequence: frame.sequence,
          clientReceiveTimeUnixNano: nanos(frame.receive),
          clientSendTimeUnixNano: nanos(frame.send),
          probe: frame.probe,
        },
      };
    case "receipt":
      return {
        case: "receipt",
        value: {
          samples: frame.samples.map((sample) => ({
            ...sample,
            lane: Priority[sample.lane],
            lastMileMicros: BigInt(sample.lastMileMicros),
            endToEndMicros: BigInt(sample.endToEndMicros),
            traceContext: sample.traceContext as Uint8Array<ArrayBuffer>,
          })),
        },
      };
    case "refreshToken":
      return { case: "refreshToken", value: { token: frame.token } };
  }
}

function decodeFrame(message: ServerFrameMessage, registry: Registry): ServerFrame | null {
  const { frame } = message;
  switch (frame.case) {
    case "events":
      return events(frame.value, registry);
    case "welcome":
      return welcome(frame.value);
    case "subscribed":
      return {
        kind: "subscribed",
        channel: frame.value.channel,
        positions: frame.value.positions.map(position),
        wasRecovering: frame.value.wasRecovering,
        recovered: frame.value.recovered,
      };
    case "gap":
      return gap(frame.value);
    case "advance":
      return advance(frame.value);
    case "ping":
      return {
        kind: "ping",
        sequence: frame.value.sequence,
        serverSend: micros(frame.value.serverSendTimeUnixNano),
        previousServerSend: micros(frame.value.previousServerSendTimeUnixNano),
        previousClientReceive: micros(frame.value.previousClientReceiveTimeUnixNano),
        previousClientSend: micros(frame.value.previousClientSendTimeUnixNano),
        previousServerReceive: micros(frame.value.previousServerReceiveTimeUnixNano),
      };
    case "error": {
      const { code, reason, message: text, channel, retryable, fatal } = frame.value;
      return { kind: "error", code, reason, message: text, channel, retryable, fatal };
    }
    case "drain":
      return { kind: "drain", reconnectAfterMs: frame.value.reconnectAfterMillis };
    case "unsubscribed":
      return { kind: "unsubscribed", channel: frame.value.channel };
    case "tokenRefreshed":
      return { kind: "tokenRefreshed", tokenExpiresMs: Number(frame.value.tokenExpiresUnix) * 1000 };
    case undefined:
      return null;
  }
}

function welcome(message: Welcome): ServerFrame {
  return {
    kind: "welcome",
    session: message.session,
    serverTime: micros(message.serverTimeUnixNano),
    heartbeatMs: message.heartbeatMillis,
    maxCommandsPerSecond: message.limits?.maxCommandsPerSecond ?? 0,
    tokenExpiresMs: Number(message.tokenExpiresUnix) * 1000,
  };
}

function events(batch: EventBatch, registry: Registry): EventsFrame {
  return {
    kind: "events",
    channel: batch.channel,
    lane: lane(batch.lane),
    epoch: batch.epoch,
    events: batch.events.map((message) => event(message, registry)),
    flushTime: micros(batch.flushTimeUnixNano),
    edgeReceiveTime: micros(batch.edgeReceiveTimeUnixNano),
    edgeSendTime: micros(batch.edgeSendTimeUnixNano),
    replayed: batch.replayed,
    policy: batch.policy,
    arm: batch.arm === Arm.BASELINE ? "BASELINE" : batch.arm === Arm.CANDIDATE ? "CANDIDATE" : null,
    generation: batch.generation,
  };
}

function event(message: Event, registry: Registry) {
  const type = message.data?.typeUrl.split("/").pop() ?? "";
  return {
    id: message.id,
    source: message.source,
    type,
    data: message.data ? payload(message.data, type, registry) : {},
    traceContext: message.traceContext,
    offset: message.offset,
    prevOffset: message.prevOffset,
    createTime: micros(message.createTimeUnixNano),
    sendTime: micros(message.sendTimeUnixNano),
    acceptTime: micros(message.acceptTimeUnixNano),
    storeTime: micros(message.storeTimeUnixNano),
  };
}

function payload(any: Any, type: string, registry: Registry): unknown {
  const schema = registry.getMessage(type);
  if (schema) return toJson(schema, fromBinary(schema, any.value), { registry });
  return { value: btoa(Array.from(any.value, (byte) => String.fromCharCode(byte)).join("")) };
}

function gap(message: Gap): GapFrame {
  return {
    kind: "gap",
    channel: message.channel,
    lane: lane(message.lane),
    epoch: message.epoch,
    fromOffset: message.fromOffset,
    toOffset: message.toOffset,
    reason: (GapReason[message.reason] ?? "UNSPECIFIED") as GapFrame["reason"],
    count: Number(message.count),
  };
}

function advance(message: Advance): AdvanceFrame {
  return {
    kind: "advance",
    channel: message.channel,
    lane: lane(message.lane),
    epoch: message.epoch,
    throughOffset: message.throughOffset,
  };
}

function position(message: LanePosition) {
  return { lane: lane(message.lane), epoch: message.epoch, offset: message.offset };
}

function lane(priority: Priority): Lane {
  const name = Priority[priority];
  if (name === undefined || priority === Priority.UNSPECIFIED) throw new TypeError(`unknown lane ${priority}`);
  return name as Lane;
}

function micros(value: bigint): Micros {
  return Number(value) / 1000;
}

function nanos(value: Micros): bigint {
  return BigInt(Math.round(value * 1000));
}
