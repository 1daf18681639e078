// Both codecs, held against the generated contract: what one subprotocol says, the other says too.

import { create, createRegistry, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { anyPack, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { describe, expect, test } from "vitest";
import type { ClientFrame } from "../src/frames.ts";
import {
  ConciergeInsightSchema,
  file_lanecast_ai_v1_concierge,
  InsightKind,
} from "../src/gen/lanecast/ai/v1/concierge_pb.ts";
import { Arm, GapReason, Priority } from "../src/gen/lanecast/v1/event_pb.ts";
import { ClientFrameSchema, ServerFrameSchema } from "../src/gen/lanecast/v1/gateway_pb.ts";
import { jsonCodec } from "../src/json.ts";
import { protobufCodec } from "../src/protobuf.ts";

const NANO = 1_767_225_600_123_456_789n;
const registry = createRegistry(file_lanecast_ai_v1_concierge);

const insight = create(ConciergeInsightSchema, {
  text: "Name the delivery date.",
  kind: InsightKind.OBJECTION,
  confidence: 0.75,
  turn: 3,
  utteranceTime: timestampFromMs(1_767_225_600_123),
});

function serverFrame(frame: Parameters<typeof create<typeof ServerFrameSchema>>[1]) {
  return create(ServerFrameSchema, frame);
}

describe("server frames", () => {
  test.each([
    serverFrame({
      frame: {
        case: "welcome",
        value: {
          session: "s",
          serverTimeUnixNano: NANO,
          heartbeatMillis: 15_000,
          limits: { maxCommandsPerSecond: 20 },
          tokenExpiresUnix: 1_767_229_200n,
        },
      },
    }),
    serverFrame({
      frame: {
        case: "subscribed",
        value: {
          channel: "agent:42",
          positions: [{ lane: Priority.HIGH, epoch: "e1", offset: 2n ** 63n }],
          wasRecovering: true,
          recovered: true,
        },
      },
    }),
    serverFrame({
      frame: {
        case: "events",
        value: {
          channel: "agent:42",
          lane: Priority.CRITICAL,
          epoch: "e1",
          flushTimeUnixNano: NANO,
          edgeReceiveTimeUnixNano: NANO + 1_000n,
          edgeSendTimeUnixNano: NANO + 2_000n,
          policy: "default",
          arm: Arm.CANDIDATE,
          generation: 7n,
          events: [
            {
              id: "a",
              source: "concierge",
              offset: 12n,
              prevOffset: 9n,
              createTimeUnixNano: NANO,
              sendTimeUnixNano: NANO,
              acceptTimeUnixNano: NANO,
              storeTimeUnixNano: NANO,
              traceContext: Uint8Array.from({ length: 25 }, (_, index) => index * 10),
              data: anyPack(ConciergeInsightSchema, insight),
            },
          ],
        },
      },
    }),
    serverFrame({
      frame: {
        case: "gap",
        value: {
          channel: "c",
          lane: Priority.LOW,
          epoch: "e1",
          fromOffset: 1n,
          toOffset: 5n,
          reason: GapReason.EPOCH_UNKNOWN,
          count: 3n,
        },
      },
    }),
    serverFrame({
      frame: { case: "advance", value: { channel: "c", lane: Priority.NORMAL, epoch: "e1", throughOffset: 44n } },
    }),
    serverFrame({
      frame: {
        case: "ping",
        value: {
          sequence: 2n,
          serverSendTimeUnixNano: NANO,
          previousServerSendTimeUnixNano: NANO,
          previousClientReceiveTimeUnixNano: NANO,
          previousClientSendTimeUnixNano: NANO,
          previousServerReceiveTimeUnixNano: NANO,
        },
      },
    }),
    serverFrame({
      frame: {
        case: "error",
        value: { code: 4501, reason: "CHANNEL_FORBIDDEN", message: "m", channel: "c", retryable: true, fatal: true },
      },
    }),
    serverFrame({ frame: { case: "drain", value: { reconnectAfterMillis: 700 } } }),
    serverFrame({ frame: { case: "unsubscribed", value: { channel: "c" } } }),
    serverFrame({ frame: { case: "tokenRefreshed", value: { tokenExpiresUnix: 5n } } }),
  ])("$frame.case reads the same from bytes and from JSON", (frame) => {
    const bytes = toBinary(ServerFrameSchema, frame);
    const fromBytes = protobufCodec().decode(bytes.slice().buffer);
    const fromText = jsonCodec().decode(JSON.stringify(toJson(ServerFrameSchema, frame, { registry })));
    expect(fromText).toEqual(fromBytes);
    expect(fromBytes).toMatchObject({ kind: frame.frame.case });
  });

  test("a payload comes in its ProtoJSON form", () => {
    const events = [{ data: anyPack(ConciergeInsightSchema, insight) }];
    const bytes = toBinary(
      ServerFrameSchema,
      serverFrame({ frame: { case: "events", value: { lane: Priority.HIGH, events } } }),
    );
    expect(protobufCodec().decode(bytes.slice().buffer)).toMatchObject({
      events: [
        {
          type: "lanecast.ai.v1.ConciergeInsight",
          data: { kind: "INSIGHT_KIND_OBJECTION", confidence: 0.75, utteranceTime: "2026-01-01T00:00:00.123Z" },
        },
      ],
    });
  });

  test("a type nobody registered keeps its bytes", () => {
    const events = [{ data: { typeUrl: "type.googleapis.com/acme.Thing", value: new Uint8Array([1, 2, 255]) } }];
    const bytes = toBinary(
      ServerFrameSchema,
      serverFrame({ frame: { case: "events", value: { lane: Priority.HIGH, events } } }),
    );
    expect(protobufCodec().decode(bytes.slice().buffer)).toMatchObject({
      events: [{ type: "acme.Thing", data: { value: "AQL/" } }],
    });
  });

  test("a kind of frame from a later version is skipped", () => {
    expect(jsonCodec().decode('{"novelty": {}}')).toBeNull();
    // Field 99, a message of no bytes.
    expect(protobufCodec().decode(new Uint8Array([0x9a, 0x06, 0x00]).buffer)).toBeNull();
  });

  test("a malformed frame throws", () => {
    expect(() => jsonCodec().decode('{"events": {"lane": "PRIORITY_PURPLE"}}')).toThrow("lane");
    expect(() => jsonCodec().decode("[]")).toThrow("object");
    expect(() => jsonCodec().decode(new ArrayBuffer(0))).toThrow("binary");
    expect(() => protobufCodec().decode("{}")).toThrow("text");
    expect(() => protobufCodec().decode(new Uint8Array([0xff]).buffer)).toThrow();
  });
});

const position = { lane: "LOW", epoch: "e1", offset: 2n ** 63n } as const;
const CLIENT_FRAMES: ClientFrame[] = [
  { kind: "hello", token: "t", client: "c" },
  { kind: "subscribe", channel: "c", lanes: ["HIGH"], start: "LAST_N", lastN: 20, positions: [position] },
  { kind: "unsubscribe", channel: "c" },
  { kind: "pong", sequence: 3n, receive: 1_767_225_600_000_000, send: 1_767_225_600_000_500, probe: true },
  {
    kind: "receipt",
    samples: [
      {
        lane: "CRITICAL",
        offset: 5n,
        type: "t",
        lastMileMicros: -3,
        uncertaintyMicros: 4,
        endToEndMicros: 1_000,
        traceContext: new Uint8Array([1, 2, 3]),
      },
    ],
  },
  { kind: "refreshToken", token: "t" },
];

test.each(CLIENT_FRAMES)("a client's $kind is the same message in bytes and in JSON", (frame) => {
  const bytes = protobufCodec().encode(frame) as Uint8Array;
  const text = jsonCodec().encode(frame) as string;
  const fromText = fromJson(ClientFrameSchema, JSON.parse(text));
  expect(fromText).toEqual(fromBinary(ClientFrameSchema, bytes));
  expect(fromText.frame.case).toBe(frame.kind);
});
