// Events for tests, as the SDK would hand them over.

import type { AiEvents, LanecastEvent } from "@lanecast/client";
import type { HandoffEvent, InsightEvent, RecommendationEvent } from "@lanecast/client/react";

type Fields = Partial<Pick<InsightEvent, "id" | "epoch" | "offset" | "lane" | "delivery" | "createTime">>;

export const T0 = Date.UTC(2026, 0, 1, 12, 0, 0);

export function makeEvent<T extends keyof AiEvents>(
  type: T,
  data: AiEvents[T],
  fields: Fields = {},
): LanecastEvent<Pick<AiEvents, T>> {
  const offset = fields.offset ?? 1n;
  return {
    channel: "agent:42",
    lane: "CRITICAL",
    epoch: "e1",
    offset,
    id: `event-${offset}`,
    source: "test",
    createTime: new Date(T0 + Number(offset) * 1_000),
    delivery: "live",
    latency: null,
    policy: "",
    arm: null,
    traceContext: new Uint8Array(),
    type,
    data,
    ...fields,
  } as unknown as LanecastEvent<Pick<AiEvents, T>>;
}

export function insight(offset: number, fields: Fields = {}): InsightEvent {
  const data = { text: `hint ${offset}` };
  return makeEvent("lanecast.ai.v1.ConciergeInsight", data, { offset: BigInt(offset), ...fields });
}

export function recommendation(
  offset: number,
  data: AiEvents["lanecast.ai.v1.StrategyRecommendation"],
): RecommendationEvent {
  return makeEvent("lanecast.ai.v1.StrategyRecommendation", data, { offset: BigInt(offset), lane: "LOW" });
}

export function step(
  offset: number,
  state: NonNullable<AiEvents["lanecast.ai.v1.BotHandoff"]["state"]>,
  data: AiEvents["lanecast.ai.v1.BotHandoff"] = {},
): HandoffEvent {
  const given = { handoffId: "h1", conversationId: "c1", fromBot: "triage", toBot: "sales", state, ...data };
  return makeEvent("lanecast.ai.v1.BotHandoff", given, { offset: BigInt(offset), lane: "HIGH" });
}
